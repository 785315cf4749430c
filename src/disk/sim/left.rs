//! What is left on a [`Sim`] when its machine stops.
//!
//! Duty: [`Sim::killed`] and [`Sim::crash`]: another disk with what the next start finds. Guarantee: whoever works on the
//! old one only gets errors from now on; after a crash everything that was synced is there, and of all else any part may
//! be: of names each change or none of it, of bytes each block old or new, of a length the old or the new.

use rand_chacha::rand_core::RngCore as _;

use super::*;

impl Sim {
    /// After `kill -9`: the page cache outlives the process, its locks do not.
    pub fn killed(&self) -> Self {
        let mut state = self.lock();
        state.off = true;
        let left = State {
            off: false,
            ops: 0,
            planned: Vec::new(),
            faults: Faults::default(),
            slow: Duration::ZERO,
            locked: BTreeSet::new(),
            distrusted: Vec::new(),
            ..state.clone()
        };
        Self(Arc::new(Mutex::new(left)))
    }

    /// After a power loss; `seed` decides what of the page cache was written.
    pub fn crash(&self, seed: u64) -> Self {
        let left = self.killed();
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        let mut state = left.lock();
        // Journals write in order, other file systems do not.
        let in_order = chance.next_u64().is_multiple_of(2);
        let until = usize::try_from(chance.next_u64()).unwrap() % (state.pending.len() + 1);
        let is_written: Vec<bool> = (0..state.pending.len())
            .map(|at| if in_order { at < until } else { chance.next_u64().is_multiple_of(2) })
            .collect();
        // The latest comes first there.
        let mut is_written = is_written.into_iter().rev();
        state.settle(|_| is_written.next().unwrap());
        state.pending.clear();
        let block = if chance.next_u64().is_multiple_of(2) { SECTOR } else { 8 * SECTOR };
        state.files.values_mut().for_each(|content| content.crash(block, &mut chance));
        state.dirs.values_mut().for_each(|dir| dir.cached.clone_from(&dir.durable));
        state.forget_the_nameless();
        state.chance = chance;
        drop(state);
        left
    }

    /// All files and their bytes.
    pub fn image(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock();
        let (mut image, mut todo) = (BTreeMap::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, node)) = todo.pop() {
            match state.dirs.get(&node) {
                Some(dir) => todo.extend(dir.cached.iter().map(|(name, node)| (path.join(name), *node))),
                None => drop(image.insert(path, state.files[&node].cached.clone())),
            }
        }
        image
    }

    /// Flips a bit of the byte `at(length)` of a file, durably: decay, not an operation.
    pub fn flip(&self, path: &Path, at: impl Fn(usize) -> usize) {
        let mut state = self.lock();
        let node = state.find(path).unwrap();
        let content = state.files.get_mut(&node).unwrap();
        let at = at(content.cached.len());
        content.cached[at] ^= 1;
        content.durable[at] ^= 1;
    }

    /// Copies all files below `to` on the machine's disk, so that a failure can be looked at and opened again.
    pub fn save(&self, to: &Path) -> io::Result<()> {
        for (path, bytes) in self.image() {
            let path = to.join(path.strip_prefix("/").unwrap_or(&path));
            std::fs::create_dir_all(path.parent().unwrap_or(to))?;
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }
}

impl State {
    fn forget_the_nameless(&mut self) {
        let (mut named, mut todo) = (BTreeSet::new(), vec![ROOT]);
        while let Some(node) = todo.pop() {
            named.insert(node);
            todo.extend(self.dirs.get(&node).into_iter().flat_map(|dir| dir.cached.values().copied()));
        }
        self.files.retain(|node, _| named.contains(node));
        self.dirs.retain(|node, _| named.contains(node));
    }
}

impl Content {
    fn crash(&mut self, block: usize, chance: &mut ChaCha12Rng) {
        let mut draw = |of: u64| chance.next_u64() % of;
        let (kind, new_length) = (draw(4), draw(2) == 0);
        let is_old = kind == 0;
        if !is_old && (kind == 1 || new_length) {
            self.durable.resize(self.cached.len(), 0);
        }
        let blocks: BTreeSet<usize> = self.dirty.iter().map(|sector| sector * SECTOR / block).collect();
        for at in blocks {
            // All of it, or torn.
            if !is_old && (kind == 1 || draw(2) == 0) {
                self.write_back(at * block..(at + 1) * block);
            }
        }
        self.dirty.clear();
        self.failed = None;
        self.cached.clone_from(&self.durable);
    }
}
