//! What is read of a part that is put or judged once more.

use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};

use super::*;
use crate::store::manifest::hash;

/// Objects in memory, and what was read of them.
#[derive(Debug, Default)]
struct Read {
    objects: InMemory,
    ranges: Mutex<Vec<(String, Range<u64>)>>,
}

impl Read {
    /// What was read of `path` since the last call.
    fn of(&self, path: &str) -> Vec<Range<u64>> {
        let all = std::mem::take(&mut *self.ranges.lock().unwrap());
        all.into_iter().filter(|(read, _)| read == path).map(|(_, range)| range).collect()
    }
}

impl std::fmt::Display for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Read")
    }
}

#[async_trait]
impl ObjectStore for Read {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.objects.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let reads = !options.head;
        let got = self.objects.get_opts(at, options).await?;
        if reads {
            self.ranges.lock().unwrap().push((at.to_string(), got.range.clone()));
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn of_a_part_that_is_there_already_only_the_footer_is_compared() {
    let (part, objects) = (part(3_000), Read::default());
    let (path, len) = (part.entry.path.as_str(), part.entry.bytes);
    put(&objects, &part).await.unwrap();
    let proof = objects.of(path);
    put(&objects, &part).await.unwrap();
    let footer = len - part.entry.footer_bytes..len;
    assert_eq!(objects.of(path), [vec![footer], proof].concat());
    let mut other = part.file.to_vec();
    let in_footer = other.len() - 20;
    other[in_footer] ^= 1;
    for there in [other, part.file[1..].to_vec()] {
        overwrite(&objects.objects, path, there).await;
        let refused = put(&objects, &part).await.unwrap_err().to_string();
        assert!(refused.contains(path) && refused.contains("another file has its name"), "{refused}");
    }
}

#[tokio::test]
async fn an_index_or_checksums_of_another_part_are_told_from_those_that_are_there_already() {
    let part = part(3_000);
    let [_, sum, index] = files_of(&part.entry.path);
    for (file, bytes) in [(sum, &part.sum), (index, &part.index)] {
        let objects = Read::default();
        put(&objects, &part).await.unwrap();
        let mut other = bytes.to_vec();
        other[0] ^= 1;
        overwrite(&objects.objects, &file, other).await;
        let refused = put(&objects, &part).await.unwrap_err();
        assert!(matches!(&refused, Error::Corrupt { path, .. } if *path == file), "{refused}");
    }
}

#[tokio::test]
async fn a_part_is_judged_piece_by_piece_and_its_checksums_are_made_on_the_way() {
    let mut file = vec![0_u8; (9 << 20) + 5];
    ChaCha8Rng::seed_from_u64(6).fill_bytes(&mut file);
    let sum = sums::of(&file);
    let (bytes, file_xxh3, sum_xxh3) = (file.len() as u64, hash(&file), hash(&sum));
    let entry = PartEntry { bytes, file_xxh3, sum_xxh3, ..part(1).entry };
    let (objects, sum_path) = (Read::default(), sums::path_of(&entry.path));
    let judged = async || reread(&objects, &entry).await.unwrap();
    assert_eq!(judged().await, Reread::Damaged("the file is missing".to_owned()));
    overwrite(&objects.objects, &entry.path, file.clone()).await;
    for there in [None, Some(Vec::new()), Some(sum.clone())] {
        if let Some(there) = there {
            overwrite(&objects.objects, &sum_path, there).await;
        }
        assert_eq!(judged().await, Reread::Whole);
        let now = objects.objects.get(&Path::from(sum_path.as_str())).await.unwrap().bytes().await.unwrap();
        assert!(now == sum, "the checksums are not those of the file");
        let pieces = objects.of(&entry.path);
        assert!(pieces.len() == 3 && pieces.iter().all(|piece| piece.end - piece.start <= 4 << 20), "{pieces:?}");
    }
    for at in [0, 5 << 20, file.len() - 1] {
        let mut bad = file.clone();
        bad[at] ^= 1;
        overwrite(&objects.objects, &entry.path, bad).await;
        assert_eq!(judged().await, Reread::Damaged("its bytes are not those that were written".to_owned()));
    }
}

#[tokio::test]
async fn what_a_decoder_doubts_is_judged_once_and_what_has_no_checksum_each_time() {
    let part = part(100);
    let (_, reads) = stored(&part).await;
    let path = part.entry.path.as_str();
    reads.doubt(path);
    assert_eq!(reads.take_suspects().into_iter().collect::<Vec<_>>(), [path]);
    reads.renew(&part.entry);
    reads.doubt(path);
    assert!(reads.take_suspects().is_empty(), "it is whole at its source");
    reads.suspect(path);
    assert!(!reads.take_suspects().is_empty());
}

#[tokio::test]
async fn blocks_that_decayed_since_they_were_checked_are_found_once_all_are_checked_anew() {
    let part = part(100);
    let (objects, reads) = stored(&part).await;
    let at = Path::from(part.entry.path.as_str());
    let read = async || reads.get_range(&at, 0..64).await;
    read().await.unwrap();
    let mut bad = part.file.to_vec();
    bad[32] ^= 1;
    overwrite(&objects, &part.entry.path, bad).await;
    read().await.unwrap();
    assert!(reads.take_suspects().is_empty(), "it was checked before");
    reads.check_anew();
    read().await.unwrap_err();
    assert_eq!(reads.take_suspects().into_iter().collect::<Vec<_>>(), [part.entry.path.as_str()]);
    // Once a minute at most.
    overwrite(&objects, &part.entry.path, part.file.to_vec()).await;
    read().await.unwrap();
    overwrite(&objects, &part.entry.path, vec![0; part.file.len()]).await;
    reads.check_anew();
    read().await.unwrap();
}

#[tokio::test]
async fn a_part_that_was_whole_after_a_failed_read_is_judged_again_when_a_decoder_doubts_it() {
    let part = part(100);
    let (_, reads) = stored(&part).await;
    let path = part.entry.path.as_str();
    let judged = || {
        let is_marked = !reads.take_suspects().is_empty();
        reads.renew(&part.entry);
        is_marked
    };
    reads.suspect(path);
    assert!(judged());
    reads.doubt(path);
    assert!(judged(), "the failed read says nothing of the decoder");
    reads.doubt(path);
    assert!(!judged(), "it was whole, and so it is our code");
    reads.suspect(path);
    assert!(judged());
    reads.doubt(path);
    assert!(judged(), "its blocks were damaged since");
    // Whatever found it first: a failed read is the weightier.
    let both: [fn(&PartStore, &str); 2] = [PartStore::doubt, PartStore::suspect];
    for marks in [both, [both[1], both[0]]] {
        reads.suspect(path);
        assert!(judged());
        marks.iter().for_each(|mark| mark(&reads, path));
        assert!(judged());
        reads.doubt(path);
        assert!(judged());
    }
}
