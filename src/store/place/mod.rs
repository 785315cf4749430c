//! Where parts and manifest are: in the data folder, in another folder, or in a bucket (storage.md 13).
//!
//! Duty: [`Place`], read from the configuration, and [`Objects`], the same opened. Guarantee: a data folder whose parts
//! are in one place is not opened with another, where they would seem to be lost; a bucket that cannot keep two writers
//! apart is refused before anything is written to it. Left to others: what is put (`part`, `manifest`); log, `spill/` and
//! `tmp/`, which are always local.

mod probe;
mod s3;
mod settings;
#[cfg(test)]
pub(in crate::store) mod sick;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3ConfigKey;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use ulid::Ulid;

use super::folder::{self, Claims, Folder};
use super::local::{self, SyncedLocal};
use super::manifest::Manifest;
use super::shelf::manifest_error;
use super::{Error, manifest};
use crate::clock::Clock;
use crate::disk::Disk;

/// Claims of unknown outcome that are remembered: of so many starts that failed one after the other.
const MOST_BEGUN: usize = 64;

/// Where parts and manifest are.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// In the data folder.
    #[default]
    Folder,
    /// In another folder: `file:///…`.
    File(PathBuf),
    /// In a bucket: `s3://…`.
    Bucket(Bucket),
    /// Whatever a test gives.
    #[cfg(test)]
    Given(Arc<dyn ObjectStore>),
}

/// An S3-compatible bucket.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    prefix: Path,
    options: Vec<(AmazonS3ConfigKey, String)>,
}

impl fmt::Debug for Bucket {
    /// Options hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.options.iter().map(|(key, _)| key.as_ref()).collect();
        f.debug_struct("Bucket").field("url", &self.url()).field("options", &names).finish()
    }
}

impl Bucket {
    fn url(&self) -> String {
        match self.prefix.as_ref() {
            "" => format!("s3://{}", self.name),
            prefix => format!("s3://{}/{prefix}", self.name),
        }
    }

    fn option(&self, key: &AmazonS3ConfigKey) -> Option<&str> {
        self.options.iter().rev().find(|(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    fn allows_http(&self) -> bool {
        let key = AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp);
        self.option(&key).is_some_and(|value| value == "true")
    }

    /// Takes keys and region that a platform hands over in the variables `AWS_*`. What the configuration says counts
    /// before them; keys are taken all or not at all.
    fn fill(&mut self, variables: &[(String, String)]) {
        use AmazonS3ConfigKey as Key;
        let own_keys =
            [Key::AccessKeyId, Key::SecretAccessKey, Key::Token, Key::SkipSignature, Key::WebIdentityTokenFile]
                .iter()
                .any(|key| self.option(key).is_some());
        for (name, value) in variables {
            let Ok(key) = name.to_ascii_lowercase().parse::<Key>() else { continue };
            let taken = match key {
                Key::Region | Key::DefaultRegion => self.option(&Key::Region).is_none(),
                Key::AccessKeyId
                | Key::SecretAccessKey
                | Key::Token
                | Key::WebIdentityTokenFile
                | Key::RoleArn
                | Key::RoleSessionName
                | Key::ContainerCredentialsRelativeUri
                | Key::ContainerCredentialsFullUri
                | Key::ContainerAuthorizationTokenFile => !own_keys && self.option(&key).is_none(),
                _ => false,
            };
            if taken {
                self.options.push((key, value.clone()));
            }
        }
    }
}

impl Place {
    /// As the configuration writes it; `None` for the data folder itself.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Folder => None,
            Self::File(path) => Some(format!("file://{}", path.display())),
            Self::Bucket(bucket) => Some(bucket.url()),
            #[cfg(test)]
            Self::Given(_) => None,
        }
    }

    /// Takes what a bucket's configuration leaves to the environment, as names and values.
    pub fn fill(&mut self, variables: &[(String, String)]) {
        if let Self::Bucket(bucket) = self {
            bucket.fill(variables);
        }
    }
}

/// A place that is opened.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Place,
    folder: Folder,
    disk: Disk,
}

impl Objects {
    /// Opens `place` for the data folder `folder`; nothing is read or written in it yet.
    ///
    /// Errors: [`Error::Place`] if the parts of the folder are in another place.
    pub fn open(place: &Place, folder: &Folder, disk: &Disk, clock: &Clock) -> Result<Self, Error> {
        if let Some(told) = mismatch(place, folder, disk)? {
            return Err(told);
        }
        let local = |root: &std::path::Path| SyncedLocal::new(root, disk.clone(), clock.clone());
        let store: Arc<dyn ObjectStore> = match place {
            Place::Folder => Arc::new(local(&folder.root)),
            Place::File(root) => Arc::new(local(root)),
            Place::Bucket(bucket) => {
                let client = s3::open(bucket).map_err(|e| unfit(bucket, &format!("no client can be made: {e}")))?;
                Arc::new(PrefixStore::new(client, bucket.prefix.clone()))
            }
            #[cfg(test)]
            Place::Given(store) => store.clone(),
        };
        Ok(Self { store, place: place.clone(), folder: folder.clone(), disk: disk.clone() })
    }

    /// The objects, rooted at the dataset's folder.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The folder in which the objects are; `None` where they are on no disk of this machine.
    pub fn root(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Folder => Some(&self.folder.root),
            Place::File(root) => Some(root),
            Place::Bucket(_) => None,
            #[cfg(test)]
            Place::Given(_) => None,
        }
    }

    /// What must hold before this process becomes the writer: the place keeps writers apart, and the data folder says
    /// where its parts are.
    pub async fn prepare(&self, clock: &Clock) -> Result<(), Error> {
        if let Place::Bucket(bucket) = &self.place {
            probe::run(self.store.as_ref(), clock).await.map_err(|why| match why {
                probe::Error::Unfit(detail) => unfit(bucket, detail),
                probe::Error::Objects(source) => self.told(&source),
            })?;
        }
        match self.place.url() {
            Some(url) => self.folder.write_objects_url(&self.disk, &url),
            None => Ok(()),
        }
    }

    /// Becomes the writer of `manifest`, unless a copy of the data folder has claimed it since this one did: the records of
    /// this log would be taken for those that the copy has flushed. A claim that was cut off at any moment keeps nobody
    /// from the next one.
    ///
    /// Errors: [`Error::Folder`] if a copy has; [`Error::Superseded`] if somebody committed since `manifest` was read.
    pub async fn claim(&self, manifest: &mut Manifest, clock: &Clock) -> Result<(), Error> {
        let nonce = clock.ulid();
        // A copy of a folder with the parts in it has a manifest of its own.
        let is_apart = !matches!(self.place, Place::Folder);
        if is_apart {
            self.announce(manifest, nonce)?;
        }
        // With an error it may still have succeeded, or do so later.
        manifest.claim_as(self.folder.node, nonce, clock).await.map_err(|error| manifest_error(&error))?;
        match is_apart {
            true => self.folder.write_claims(&self.disk, &Claims { epoch: manifest.epoch(), begun: Vec::new() }),
            false => Ok(()),
        }
    }

    /// Writes down that a claim under `nonce` comes next.
    fn announce(&self, manifest: &Manifest, nonce: Ulid) -> Result<(), Error> {
        let epoch = manifest.epoch();
        // Behind versions that cannot be read the epoch is a guess.
        let is_read = manifest.unreadable().is_empty() && manifest.recovered().is_none();
        let is_ours = is_read && manifest.writer() == self.folder.node.to_string();
        let mut claims = self.folder.claims(&self.disk)?.unwrap_or(Claims { epoch, begun: Vec::new() });
        // Between the put of a claim and the note that it succeeded nothing is committed: it is the newest delta still.
        let is_begun_here = claims.begun.iter().any(|begun| begun.to_string() == manifest.nonce());
        if is_ours && epoch > claims.epoch && !is_begun_here {
            return Err(Error::Folder {
                path: self.folder.epoch_file(),
                detail: format!(
                    "this folder has claimed its parts with epoch {} last, and a copy of it with the same `node.id` \
                     has done so with epoch {epoch} since: records of this log would be taken for those of the copy and \
                     skipped. Start the copy instead; if it is gone for good, remove this file to start here",
                    claims.epoch
                ),
            });
        }
        claims.begun.push(nonce);
        // Puts of older ones are over.
        claims.begun.drain(..claims.begun.len().saturating_sub(MOST_BEGUN));
        self.folder.write_claims(&self.disk, &claims)
    }

    /// Removes from a folder what writers that are gone have left half-way. The caller has become the writer; the data
    /// folder is emptied of it before.
    pub fn tidy(&self) -> Result<(), Error> {
        match &self.place {
            Place::File(root) => folder::empty(&self.disk, &root.join(local::TMP)),
            _ => Ok(()),
        }
    }

    /// What it says about the place that the manifest cannot be read.
    pub fn of_manifest(&self, error: &manifest::Error) -> Error {
        match (&self.place, error) {
            (Place::Bucket(_), manifest::Error::Objects { source, .. }) => self.told(source),
            _ => Error::Parts { detail: error.to_string() },
        }
    }

    /// What the first failing request says about the place.
    pub fn told(&self, error: &object_store::Error) -> Error {
        let Place::Bucket(bucket) = &self.place else { return Error::Parts { detail: error.to_string() } };
        let text = shortened(&error.to_string());
        let at = bucket.option(&AmazonS3ConfigKey::Endpoint).map_or(String::new(), |at| format!(" at {at}"));
        let place = |detail: String| Error::Place { place: bucket.url(), detail };
        match status(error, &text) {
            _ if text.contains("/latest/api/token") || text.contains("/latest/meta-data") => place(format!(
                "no keys: set `access_key_id` and `secret_access_key` in `storage.object_store.options`, or \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment ({text})"
            )),
            Some(404) => place(format!("there is no such bucket{at}: make it, or correct the name ({text})")),
            Some(401 | 403) => place(format!(
                "access is denied{at}: the keys in `storage.object_store.options` (or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY) must allow to list the bucket and to get, put and delete its objects ({text})"
            )),
            _ if text.contains("redirect without LOCATION") => place(format!(
                "the bucket is in another region: set `region` in `storage.object_store.options` ({text})"
            )),
            // Not a timeout of the server, and not its "slow down".
            Some(400..=499) if !matches!(status(error, &text), Some(408 | 429)) => {
                place(format!("the server{at} takes no request for it: check bucket, region and endpoint ({text})"))
            }
            _ => Error::Unreachable { place: bucket.url(), detail: text },
        }
    }
}

/// The HTTP status behind `error`, whose text is `text`: for lists the client has it in its words alone.
fn status(error: &object_store::Error, text: &str) -> Option<u16> {
    match error {
        object_store::Error::NotFound { .. } => Some(404),
        object_store::Error::PermissionDenied { .. } => Some(403),
        object_store::Error::Unauthenticated { .. } => Some(401),
        _ => text.split_once("status code: ")?.1.get(..3)?.parse().ok(),
    }
}

fn unfit(bucket: &Bucket, detail: &str) -> Error {
    Error::Place { place: bucket.url(), detail: detail.to_owned() }
}

/// One line of at most 400 bytes: servers answer with pages.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().map(|(at, _)| at).find(|at| *at >= 400) {
        Some(at) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The error, if the parts of `folder` are not in `place`.
fn mismatch(place: &Place, folder: &Folder, disk: &Disk) -> Result<Option<Error>, Error> {
    #[cfg(test)]
    if matches!(place, Place::Given(_)) {
        return Ok(None);
    }
    let (recorded, url) = (folder.objects_url(disk)?, place.url());
    let (place, detail) = match (recorded, url) {
        (Some(recorded), Some(url)) if recorded == url => return Ok(None),
        (None, None) => return Ok(None),
        (None, Some(url)) => {
            if !folder.has_manifest(disk)? {
                return Ok(None);
            }
            let detail = format!(
                "the data folder {} has parts of its own, which would not be read: copy its `spans`, `index`, `catalog` \
                 and `manifest` into the place and move these four away, or use another data folder",
                folder.root.display()
            );
            (url, detail)
        }
        (Some(recorded), url) => {
            let asked = url.map_or("the configuration names no object store".to_owned(), |url| {
                format!("the configuration names {url}")
            });
            let detail = format!(
                "the parts of the data folder {} are there, and {asked}: name the configuration with \
                 `storage.object_store.url: {recorded}` (--config FILE), or remove `{}` to begin without these parts",
                folder.root.display(),
                folder.objects_file().display()
            );
            (recorded, detail)
        }
    };
    Ok(Some(Error::Place { place, detail }))
}
