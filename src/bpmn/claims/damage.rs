//! Damaged files.
//!
//! Duty: bytes of good files changed by a seeded generator. Guarantee: reading, checking and drawing them never panics, and
//! each finding lies inside the file; what lint lets pass the machine takes. Left to others: which damage is refused how
//! (`model::tests`).

use crate::diagnostic::Severity;
use crate::model::tests::{REPAIR, process};
use crate::{core, lint, model};

/// SplitMix64: equal seeds give equal damage.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }
}

const PIECES: [&str; 24] = [
    "<",
    ">",
    "&",
    "\"",
    "'",
    "]]>",
    "<![CDATA[",
    "-->",
    "<!--",
    "&#x0;",
    "<?xml?>",
    "id=\"\"",
    " default=\"f1\"",
    "<bpmn:task/>",
    "</bpmn:process>",
    "xmlns=\"\"",
    "=",
    "\u{0}",
    "é",
    "\r\n",
    "<!DOCTYPE a>",
    "auto:task:1",
    "PT",
    "R3/",
];

fn damaged(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.roll(2) {
        let at = dice.roll(bytes.len());
        let length = dice.roll(40).min(bytes.len() - at);
        match dice.roll(5) {
            0 => bytes[at] = dice.roll(256) as u8,
            1 => drop(bytes.drain(at..at + length)),
            2 => drop(bytes.splice(at..at, PIECES[dice.roll(PIECES.len())].bytes())),
            3 => {
                let copy = bytes[at..at + length].to_vec();
                let to = dice.roll(bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'<');
        }
    }
    bytes
}

#[test]
fn damage_never_panics_and_findings_lie_inside_the_file() {
    let nested = process(
        "<subProcess id='a'><startEvent id='b'/><userTask id='c'/><sequenceFlow id='f' sourceRef='b' targetRef='c'>\
         <conditionExpression>= x &lt; 1</conditionExpression></sequenceFlow></subProcess>",
    );
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(nested.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mut dice = Dice(1);
    let (mut parsed, mut clean) = (0, 0);
    for round in 0..3_000 {
        let seed = [REPAIR.as_bytes(), nested.as_bytes(), &utf16][round % 3];
        let bytes = damaged(seed, &mut dice);
        let findings = match model::parse(&bytes) {
            Ok(definitions) => {
                parsed += 1;
                assert_eq!(definitions.source(), bytes);
                assert!(model::census(&definitions).is_object());
                assert!(model::mermaid(&definitions).starts_with("flowchart LR\n"));
                assert_eq!(model::exec_hash(&definitions).len(), 64);
                let findings = lint::check(&definitions, &lint::Registry::default());
                if findings.iter().all(|finding| finding.severity != Severity::Error) {
                    clean += 1;
                    let deployed = core::Models::default().add("hash", &definitions);
                    assert!(deployed.is_ok(), "{round}: lint passed what the machine refuses: {deployed:?}");
                }
                findings
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                errors
            }
        };
        for finding in findings {
            let at = finding.at;
            assert!(at.line > 0 && at.column > 0 && at.offset + at.length <= bytes.len(), "{round}: {finding} {at:?}");
        }
    }
    assert!(parsed > 100, "only {parsed} files were still models");
    assert!(clean > 20, "only {clean} files could still run");
}

#[test]
fn noise_never_panics() {
    let mut dice = Dice(2);
    for _ in 0..2_000 {
        let length = dice.roll(200);
        let bytes: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
        assert!(model::parse(&bytes).is_err());
        let text: String = (0..length / 4).map(|_| PIECES[dice.roll(PIECES.len())]).collect();
        assert!(model::parse(text.as_bytes()).is_err());
    }
}
