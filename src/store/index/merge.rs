//! One index of several.
//!
//! Duty: [`Merge`], fed with whole files. Guarantee: the file that comes out says of each part what its own index says;
//! damage in one of them ends it. Left to others: which parts, and where the file goes (`days`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;
use ulid::Ulid;

use super::block::Blocks;
use super::fences::{Fences, footer_of, seed_of, write_day};
use super::{Damage, Key, Place, block};
use crate::store::manifest::PartEntry;
use crate::store::part::ulid_of;

/// The indexes of parts, read in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Merge {
    inputs: Vec<Input>,
    /// Row groups of all inputs.
    groups: usize,
}

/// An index that is read block by block.
#[derive(Debug)]
struct Input {
    part: Ulid,
    file: Bytes,
    fences: Fences,
    /// What its row groups are counted from.
    first_group: usize,
    /// The block that is read next.
    block: usize,
    ready: VecDeque<(Key, Place)>,
}

/// The next place of an input, least first: key, row group, zones, input.
type Next = Reverse<(Key, u32, u8, usize)>;

impl Merge {
    /// Adds `file`, the index of `part`, whose ULID is above those before.
    pub(super) fn add(&mut self, part: &PartEntry, file: Bytes) -> Result<(), Damage> {
        let ulid = ulid_of(&part.path).ok_or(Damage("its part has no ULID"))?;
        let fences = Fences::read(footer_of(&file)?, file.len() as u64, part)?;
        let first_group = self.groups;
        self.groups += fences.groups.len();
        self.inputs.push(Input { part: ulid, file, fences, first_group, block: 0, ready: VecDeque::new() });
        Ok(())
    }

    /// How many indexes there are.
    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// The file of all; the error says which input is damaged.
    pub(super) fn finish(mut self) -> Result<Bytes, (usize, Damage)> {
        let mut heap: BinaryHeap<Next> = BinaryHeap::with_capacity(self.inputs.len());
        for at in 0..self.inputs.len() {
            heap.extend(self.next(at)?);
        }
        let mut blocks = Blocks::seeded(seed_of(self.inputs.iter().map(|input| input.part)));
        let (mut open, mut places) = (None, Vec::new());
        while let Some(Reverse((key, group, zones, at))) = heap.pop() {
            if let Some(before) = open.replace(key).filter(|before| *before != key) {
                blocks.push(before, &places);
                places.clear();
            }
            places.push(Place { group, zones });
            heap.extend(self.next(at)?);
        }
        if let Some(last) = open {
            blocks.push(last, &places);
        }
        let (mut file, firsts) = blocks.finish();
        let parts: Vec<(Ulid, &[u32])> =
            self.inputs.iter().map(|input| (input.part, input.fences.groups.as_slice())).collect();
        write_day(&mut file, &parts, &firsts);
        Ok(file.into())
    }

    fn next(&mut self, at: usize) -> Result<Option<Next>, (usize, Damage)> {
        let next = self.inputs[at].next().map_err(|damage| (at, damage))?;
        Ok(next.map(|(key, place)| Reverse((key, place.group, place.zones, at))))
    }
}

impl Input {
    fn next(&mut self) -> Result<Option<(Key, Place)>, Damage> {
        while self.ready.is_empty() && self.block < self.fences.len() {
            let bytes = self.fences.bytes_of(self.block);
            let bytes = self.file.get(bytes.start as usize..bytes.end as usize);
            let bytes = bytes.ok_or(Damage("it is shorter than its footer says"))?;
            let (ready, groups) = (&mut self.ready, self.fences.groups.len());
            let mut foreign = false;
            block::read(bytes, self.fences.seed, self.fences.first(self.block), |key, place| {
                foreign |= place.group as usize >= groups;
                let group = u32::try_from(self.first_group + place.group as usize).unwrap_or(u32::MAX);
                ready.push_back((key, Place { group, ..place }));
            })?;
            if foreign {
                return Err(Damage("it names a row group that its part has not"));
            }
            self.block += 1;
        }
        Ok(self.ready.pop_front())
    }
}
