//! Keys of the state as bytes that sort the same way.
//!
//! Duty: one table a kind of key, and order-keeping bytes within it. Guarantee: `decode(encode(k)) = k`, and bytes
//! compare as keys do. Left to others: rows (postcard).

use bpmn::core::Key;

/// Tables of the state, in the order of [`Key`]'s variants.
pub(super) const NAMES: [&str; 18] = [
    "meta",
    "instances",
    "elements",
    "children",
    "variables",
    "jobs",
    "job_queue",
    "job_locks",
    "timers",
    "timers_of",
    "incidents",
    "keyed_starts",
    "msg_ids",
    "msg_expiry",
    "message_starts",
    "processes",
    "versions",
    "version_of",
];

/// The table of a key and its bytes there.
pub(super) fn encode(key: &Key) -> (usize, Vec<u8>) {
    let mut bytes = Bytes(Vec::new());
    let table = match key {
        Key::Meta => 0,
        Key::Instance(a) => bytes.number(1, *a),
        Key::Element(a) => bytes.number(2, *a),
        Key::Child(a, b) => {
            bytes.number(3, *a);
            bytes.number(3, *b)
        }
        Key::Variable(a, name) => {
            bytes.number(4, *a);
            bytes.text(4, name)
        }
        Key::Job(a) => bytes.number(5, *a),
        Key::JobQueue(name, due, job) => {
            bytes.text(6, name);
            bytes.time(6, *due);
            bytes.number(6, *job)
        }
        Key::JobLock(name) => bytes.text(7, name),
        Key::Timer(due, timer) => {
            bytes.time(8, *due);
            bytes.number(8, *timer)
        }
        Key::TimerOf(a, b) => {
            bytes.number(9, *a);
            bytes.number(9, *b)
        }
        Key::Incident(a) => bytes.number(10, *a),
        Key::KeyedStart(a, b) => {
            bytes.text(11, a);
            bytes.text(11, b)
        }
        Key::MessageId(a, b, c) => {
            bytes.text(12, a);
            bytes.text(12, b);
            bytes.text(12, c)
        }
        Key::MessageExpiry(at, a, b, c) => {
            bytes.time(13, *at);
            bytes.text(13, a);
            bytes.text(13, b);
            bytes.text(13, c)
        }
        Key::MessageStart(a, b) => {
            bytes.text(14, a);
            bytes.text(14, b)
        }
        Key::Definition(a) => bytes.text(15, a),
        Key::Version(a, version) => {
            bytes.text(16, a);
            bytes.number(16, u64::from(*version))
        }
        Key::VersionOf(a, b) => {
            bytes.text(17, a);
            bytes.text(17, b)
        }
    };
    (table, bytes.0)
}

/// The key that `encode` made these bytes of.
pub(super) fn decode(table: usize, bytes: &[u8]) -> Option<Key> {
    let mut read = Read(bytes);
    let key = match table {
        0 => Key::Meta,
        1 => Key::Instance(read.number()?),
        2 => Key::Element(read.number()?),
        3 => Key::Child(read.number()?, read.number()?),
        4 => Key::Variable(read.number()?, read.text()?),
        5 => Key::Job(read.number()?),
        6 => Key::JobQueue(read.text()?, read.time()?, read.number()?),
        7 => Key::JobLock(read.text()?),
        8 => Key::Timer(read.time()?, read.number()?),
        9 => Key::TimerOf(read.number()?, read.number()?),
        10 => Key::Incident(read.number()?),
        11 => Key::KeyedStart(read.text()?, read.text()?),
        12 => Key::MessageId(read.text()?, read.text()?, read.text()?),
        13 => Key::MessageExpiry(read.time()?, read.text()?, read.text()?, read.text()?),
        14 => Key::MessageStart(read.text()?, read.text()?),
        15 => Key::Definition(read.text()?),
        16 => Key::Version(read.text()?, u32::try_from(read.number()?).ok()?),
        17 => Key::VersionOf(read.text()?, read.text()?),
        _ => return None,
    };
    read.0.is_empty().then_some(key)
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn number(&mut self, table: usize, number: u64) -> usize {
        self.0.extend(number.to_be_bytes());
        table
    }

    fn time(&mut self, table: usize, ms: i64) -> usize {
        self.number(table, ms.cast_unsigned() ^ (1 << 63))
    }

    /// A zero byte inside becomes two, so that the end sorts before everything.
    fn text(&mut self, table: usize, text: &str) -> usize {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(255);
            }
        }
        self.0.extend([0, 1]);
        table
    }
}

struct Read<'a>(&'a [u8]);

impl Read<'_> {
    fn number(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*head))
    }

    fn time(&mut self) -> Option<i64> {
        Some((self.number()? ^ (1 << 63)).cast_signed())
    }

    fn text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            match self.0 {
                [0, 1, rest @ ..] => {
                    self.0 = rest;
                    return String::from_utf8(text).ok();
                }
                [0, 255, rest @ ..] => {
                    text.push(0);
                    self.0 = rest;
                }
                [byte, rest @ ..] if *byte != 0 => {
                    text.push(*byte);
                    self.0 = rest;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof![Just('\0'), Just('a'), Just('ä'), Just('\u{ff}')], 0..4)
            .prop_map(|chars| chars.into_iter().collect())
    }

    fn key() -> impl Strategy<Value = Key> {
        let number = || prop_oneof![0_u64..4, Just(u64::MAX), any::<u64>()];
        let time = || prop_oneof![-2_i64..3, Just(i64::MIN), any::<i64>()];
        prop_oneof![
            number().prop_map(Key::Element),
            (number(), number()).prop_map(|(a, b)| Key::Child(a, b)),
            (number(), text()).prop_map(|(a, b)| Key::Variable(a, b)),
            (text(), time(), number()).prop_map(|(a, b, c)| Key::JobQueue(a, b, c)),
            (time(), number()).prop_map(|(a, b)| Key::Timer(a, b)),
            (text(), text(), text()).prop_map(|(a, b, c)| Key::MessageId(a, b, c)),
            (time(), text(), text(), text()).prop_map(|(a, b, c, d)| Key::MessageExpiry(a, b, c, d)),
            (text(), 0_u32..3).prop_map(|(a, b)| Key::Version(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn bytes_sort_as_keys_and_give_them_back(a in key(), b in key()) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
            let (table, bytes) = encode(&a);
            prop_assert_eq!(decode(table, &bytes), Some(a));
        }
    }
}
