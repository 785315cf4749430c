//! `gates run --baseline PATH` (gates.md 12, 4.2).
//!
//! Duty: spans of before, judged as those of now are, to the numbers that gates with a `baseline` are held to. Guarantee: they are
//! only read, and never among the spans that are judged; without a span there is no baseline and nothing is judged. Left to
//! others: what a baseline means (`gate::baseline`), playing (`gate::playback`).

use std::path::Path;

use anyhow::Context as _;

use super::super::definitions::Definitions;
use super::super::house;
use super::super::input::{self, Source};
use super::{playable, seat};
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::Group;
use crate::gate::playback::{self, Judge, Values};
use crate::store;

/// `groups`, of which those with a `baseline` are held to what they give of the spans in `path`.
///
/// Errors: no gate has one (78); the spans cannot be read (74), there are none or their ticks are too many (3).
pub(super) async fn held_to(
    path: &Path,
    groups: Vec<Group>,
    judge: Judge,
    config: &Config,
    clock: &Clock,
) -> anyhow::Result<Vec<Group>> {
    if !groups.iter().flat_map(|group| &group.gates).any(|gate| gate.baseline.is_some()) {
        let text = "no gate has a `baseline`, so `--baseline` would change nothing; remove it, or write e.g. `baseline: \
                    {window: 7d, max_drop: 10%}` into a gate";
        return Err(Failure::new(Exit::Config, text).into());
    }
    let is_folder = path.join("VERSION").exists();
    let config = match is_folder {
        true => Config { store: store::Config { path: path.to_owned(), ..config.store.clone() }, ..config.clone() },
        false => config.clone(),
    };
    let house = match is_folder {
        true => house::Spans::of_folder(&config, clock).await?,
        false => house::Spans::fresh(&config, clock).await?,
    };
    let values = values(path, &house, &groups, judge, &config, clock).await;
    house.close().await;
    Ok(playback::held_to(groups, &values?, judge))
}

async fn values(
    path: &Path,
    house: &house::Spans,
    groups: &[Group],
    judge: Judge,
    config: &Config,
    clock: &Clock,
) -> anyhow::Result<Values> {
    let shown = path.display();
    let definitions = match house.is_folder() {
        true => Definitions::of_folder(path, groups, clock).await?,
        false => {
            let taken = input::take(&[Source::Path(path.to_owned())], house).await?;
            for (what, spans) in &taken.rejected_by {
                eprintln!("weavergen: {spans} spans of --baseline {shown} were set aside: {what}");
            }
            Definitions::Absent
        }
    };
    let asked = house.ask(config, definitions.table(), clock)?;
    let (_, extent) = asked.extent().await?;
    let Some(extent) = extent else {
        let text = format!("--baseline {shown} holds no span, so there is nothing that values could be held to");
        return Err(Failure::new(Exit::NotJudged, text).into());
    };
    playable(groups, judge, extent)
        .map_err(|failure| Failure::new(Exit::NotJudged, format!("--baseline {shown}: {failure}")))?;
    let played = playback::values(seat(&asked, groups.to_vec()), judge, extent).await;
    played.with_context(|| format!("the gates could not be played over --baseline {shown}"))
}
