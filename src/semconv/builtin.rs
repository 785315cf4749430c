//! The registries that are shipped, compiled in.
//!
//! Duty: the files of `pipelines/registry/`. Guarantee: a test holds the list to the folder. Left to others: reading them
//! (`source`).

/// Names of the shipped registries.
pub const NAMES: [&str; 2] = ["weavergen", "shop"];

macro_rules! shipped {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../pipelines/registry/", $path)))),*]
    };
}

/// Path below `pipelines/registry/` → text.
const FILES: [(&str, &str); 7] = shipped![
    "shop/attributes.yaml",
    "shop/manifest.yaml",
    "shop/spans.yaml",
    "weavergen/ai.yaml",
    "weavergen/engine.yaml",
    "weavergen/manifest.yaml",
    "weavergen/workflow.yaml",
];

/// The files of the registry `name`: path inside it and text.
pub fn files(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |(path, text)| {
        let inside = path.strip_prefix(name)?.strip_prefix('/')?;
        Some((inside, *text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/registry");
        let mut there = Vec::new();
        for name in NAMES {
            for entry in std::fs::read_dir(root.join(name)).unwrap() {
                there.push(format!("{name}/{}", entry.unwrap().file_name().to_str().unwrap()));
            }
        }
        there.sort();
        assert_eq!(FILES.map(|(path, _)| path.to_owned()).to_vec(), there);
    }
}
