//! Whether a bucket keeps two writers apart (storage.md 13).
//!
//! Duty: create-only puts under a name of its own, one after another and several at once. Guarantee: a server that
//! ignores `If-None-Match: *`, or lets several creators of one name win, is refused: two daemons would overwrite each
//! other's manifest. Left to others: words for a bucket that cannot be reached (`mod`).

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode};

use crate::clock::Clock;

/// Races, and creators in each.
const RACES: usize = 3;
const CREATORS: usize = 8;

/// Why the bucket cannot be used.
#[derive(Debug)]
pub enum Error {
    /// What it does wrong, and the next move.
    Unfit(&'static str),
    /// A request failed.
    Objects(ObjectError),
}

const IGNORES: &str = "it ignores `If-None-Match: *` on a put: an object that was there was replaced, so two daemons \
                       would overwrite each other's manifest; use a bucket of a server that honours it (S3 does, and \
                       others in newer releases), or take `storage.object_store` out and keep the parts on the disk";
const RACY: &str = "of several puts with `If-None-Match: *` under one name at the same time more than one succeeded, so \
                    two daemons would overwrite each other's manifest; use a bucket of a server that lets exactly one \
                    succeed (S3 does), or take `storage.object_store` out and keep the parts on the disk";
const LOSES: &str = "an object is not there, or not as it was written, right after its put succeeded; use a bucket of a \
                     server that reads what was written (S3 does), or take `storage.object_store` out and keep the parts \
                     on the disk";

/// Asks `objects` the questions.
pub async fn run(objects: &dyn ObjectStore, clock: &Clock) -> Result<(), Error> {
    let name = Path::from(format!("probe/{}", clock.ulid()));
    let asked = one_after_another(objects, &name).await;
    let asked = match asked {
        Ok(()) => all_races(objects, clock).await,
        refused => refused,
    };
    remove(objects, &name).await;
    asked
}

async fn one_after_another(objects: &dyn ObjectStore, name: &Path) -> Result<(), Error> {
    // A repeat after a lost answer finds the name taken: only what is read afterwards tells.
    match create(objects, name, "first").await {
        Ok(()) | Err(ObjectError::AlreadyExists { .. }) => {}
        Err(error) => return Err(Error::Objects(error)),
    }
    match create(objects, name, "second").await {
        Err(ObjectError::AlreadyExists { .. }) => {}
        Ok(()) => return Err(Error::Unfit(IGNORES)),
        Err(error) => return Err(Error::Objects(error)),
    }
    match read(objects, name).await? {
        Some(bytes) if bytes == "first" => Ok(()),
        Some(bytes) if bytes == "second" => Err(Error::Unfit(IGNORES)),
        _ => Err(Error::Unfit(LOSES)),
    }
}

async fn all_races(objects: &dyn ObjectStore, clock: &Clock) -> Result<(), Error> {
    for _ in 0..RACES {
        let name = Path::from(format!("probe/{}", clock.ulid()));
        let raced = race(objects, &name).await;
        remove(objects, &name).await;
        raced?;
    }
    Ok(())
}

async fn race(objects: &dyn ObjectStore, name: &Path) -> Result<(), Error> {
    let bodies: Vec<String> = (0..CREATORS).map(|creator| format!("creator {creator}")).collect();
    let answers = join_all(bodies.iter().map(|body| create(objects, name, body))).await;
    let mut winners = Vec::new();
    for (body, answer) in bodies.iter().zip(answers) {
        match answer {
            Ok(()) => winners.push(body),
            // A server that is asked by several may also put them off (409), or be lost on the way.
            Err(ObjectError::AlreadyExists { .. }) => {}
            Err(error @ (ObjectError::PermissionDenied { .. } | ObjectError::NotImplemented { .. })) => {
                return Err(Error::Objects(error));
            }
            Err(_) => {}
        }
    }
    if winners.len() > 1 {
        return Err(Error::Unfit(RACY));
    }
    match (read(objects, name).await?, winners.first()) {
        (Some(bytes), Some(winner)) if bytes == winner.as_str() => Ok(()),
        (Some(_), Some(_)) => Err(Error::Unfit(RACY)),
        (None, Some(_)) => Err(Error::Unfit(LOSES)),
        // All were put off, or the winner's answer was lost.
        (_, None) => Ok(()),
    }
}

async fn create(objects: &dyn ObjectStore, name: &Path, body: &str) -> Result<(), ObjectError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    objects.put_opts(name, body.into(), PutMode::Create.into()).await.map(drop)
}

async fn read(objects: &dyn ObjectStore, name: &Path) -> Result<Option<Bytes>, Error> {
    let got = async { objects.get(name).await?.bytes().await }.await;
    match got {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ObjectError::NotFound { .. }) => Ok(None),
        Err(error) => Err(Error::Objects(error)),
    }
}

async fn remove(objects: &dyn ObjectStore, name: &Path) {
    match objects.delete(name).await {
        Ok(()) | Err(ObjectError::NotFound { .. }) => {}
        Err(error) => {
            tracing::warn!(object = %name, %error, "an object of the start-up probe stays: it cannot be deleted")
        }
    }
}
