//! Files that take rows.
//!
//! Duty: a file that is there once all its rows are. Guarantee: until then what lay there stays; a failure leaves nothing
//! behind. Left to others: the bytes (`output`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Failure;

/// Replaces a file when it is kept.
#[derive(Debug)]
pub(super) struct Replacing {
    path: PathBuf,
    beside: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Replacing {
    /// Errors: nothing can be written beside `path`.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(Failure::Write(format!("{} is a folder; name a file", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let beside = path.with_file_name(hidden);
        let file = File::create(&beside).map_err(|error| cannot(path, &error))?;
        Ok(Self { path: path.to_owned(), beside, file: Some(BufWriter::new(file)) })
    }

    /// Puts it in place.
    pub(super) fn keep(mut self) -> Result<(), Failure> {
        if let Some(mut file) = self.file.take() {
            let kept = file.flush().and_then(|()| std::fs::rename(&self.beside, &self.path));
            if let Err(error) = kept {
                // Nobody will look for it there.
                let _ = std::fs::remove_file(&self.beside);
                return Err(cannot(&self.path, &error));
            }
        }
        Ok(())
    }
}

impl Write for Replacing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().expect("only `keep` takes it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("only `keep` takes it").flush()
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // The next try writes over it.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// A file that takes the rows of one statement after another.
pub(super) fn open(path: &Path) -> Result<BufWriter<File>, Failure> {
    File::create(path).map(BufWriter::new).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "; make its folder first",
        io::ErrorKind::PermissionDenied => "; choose another folder",
        _ => "",
    };
    Failure::Write(format!("cannot write {}: {error}{next}", path.display()))
}
