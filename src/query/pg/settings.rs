//! Settings of a connection (sql.md 9.3).
//!
//! Duty: the allow-list of SET, `set_config` and SHOW. Guarantee: nothing that is set reaches the engine but a shorter time; the zone
//! of times as text is the only other effect. Left to others: the statements themselves (`command`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::problem::Problem;

/// Version of PostgreSQL whose catalogue and statements clients may expect.
pub const VERSION: &str = "15.0";
const VERSION_NUMBER: &str = "150000";

/// Settings that are told at login and when they change.
const REPORTED: [&str; 14] = [
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "default_transaction_read_only",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "search_path",
];

/// Settings that may be shown, not set.
const FIXED: [(&str, &str); 17] = [
    ("server_version", VERSION),
    ("server_version_num", VERSION_NUMBER),
    ("server_encoding", "UTF8"),
    ("default_transaction_read_only", "on"),
    ("transaction_read_only", "on"),
    ("in_hot_standby", "off"),
    ("is_superuser", "off"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_table_access_method", "heap"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("block_size", "8192"),
    ("ssl", "off"),
    ("wal_level", "replica"),
];

/// Settings that drivers send: taken, shown, without effect.
const NO_EFFECT: [(&str, &str); 24] = [
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("client_min_messages", "notice"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("enable_seqscan", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("geqo", "on"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("jit", "off"),
    ("lock_timeout", "0"),
    ("max_parallel_workers_per_gather", "0"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("synchronize_seqscans", "on"),
    ("synchronous_commit", "on"),
    ("transaction_isolation", "read committed"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// A setting that clients want to hear of, and its value.
pub type Told = (&'static str, String);

/// The settings of a connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By lower-case name: the name as it is written, and the value.
    values: BTreeMap<String, Told>,
    zone: TimeZone,
    timeout: Option<Duration>,
    cap: Duration,
}

impl Settings {
    /// Those of a connection of `user`, where a statement may take `cap`.
    pub fn new(user: &str, cap: Duration) -> Self {
        let fixed = FIXED.iter().chain(&NO_EFFECT).map(|(name, value)| (*name, (*value).to_owned()));
        let ours = [
            ("session_authorization", user.to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("statement_timeout", "0".to_owned()),
            ("TimeZone", "UTC".to_owned()),
        ];
        let values = fixed.chain(ours).map(|(name, value)| (name.to_ascii_lowercase(), (name, value))).collect();
        Self { values, zone: TimeZone::UTC, timeout: None, cap }
    }

    /// Where times are shown as text.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// How long a statement may take, where it is shorter than the configuration's.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Names and values that are told at login.
    pub fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        REPORTED.iter().filter_map(|name| Some((*name, self.show(name)?)))
    }

    /// Names and values of all.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.values().map(|(name, value)| (*name, value.as_str()))
    }

    /// The value of a setting.
    pub fn show(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(|(_, value)| value.as_str())
    }

    /// The name of a setting, as that of a column, and its value.
    pub fn shown(&self, name: &str) -> Option<(&'static [&'static str], &str)> {
        let (name, value) = self.values.get(&name.to_ascii_lowercase())?;
        let columns =
            REPORTED.iter().chain(FIXED.iter().map(|(name, _)| name)).chain(NO_EFFECT.iter().map(|(name, _)| name));
        let column = columns.chain(&["statement_timeout"]).find(|known| *known == name)?;
        Some((std::slice::from_ref(column), value))
    }

    /// Sets `name`; `None` is its default. What to tell: the setting, where clients want to hear of it, and a notice.
    ///
    /// Errors: 42704 for a setting that is not known, 55P02 for one that cannot be set, 22023 for a wrong value.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(Option<Told>, Option<Problem>), Problem> {
        let key = name.to_ascii_lowercase();
        let default = Self::new(self.show("session_authorization").unwrap_or_default(), self.cap);
        let Some((name, of_default)) = default.values.get(&key).cloned() else {
            // Extensions have settings of their own, of which a client may send any.
            if key.contains('.') {
                return Ok((None, None));
            }
            return Err(Problem::new("42704", format!("there is no setting `{key}`"))
                .hint("statement_timeout and TimeZone have an effect here; `SHOW ALL` lists all"));
        };
        let value = value.unwrap_or(&of_default);
        let mut notice = None;
        let value = match name {
            "statement_timeout" => {
                let (timeout, told) = self.time(value)?;
                (self.timeout, notice) = (timeout, told);
                timeout.map_or("0".to_owned(), |timeout| format!("{}ms", timeout.as_millis()))
            }
            "TimeZone" => {
                let (zone, name) = zone(value)?;
                if zone != TimeZone::UTC {
                    let text = format!(
                        "times are shown in {name}, and parameters without an offset are read in it; literals in a \
                         text and functions such as date_trunc are in UTC"
                    );
                    notice = Some(Problem::new("00000", text));
                }
                self.zone = zone;
                name
            }
            "client_encoding" if !is_utf8(value) => {
                return Err(Problem::new("22023", format!("the encoding `{value}` is not spoken here")).hint("UTF8 is"));
            }
            "client_encoding" => of_default,
            "DateStyle" if !value.to_ascii_lowercase().contains("iso") => {
                return Err(Problem::new("22023", format!("times are not written in the style `{value}`"))
                    .hint("`SET DateStyle = ISO`"));
            }
            "standard_conforming_strings" | "default_transaction_read_only" | "transaction_read_only"
                if is_on(value) =>
            {
                of_default
            }
            name if name == "session_authorization" || FIXED.iter().any(|(fixed, _)| *fixed == name) => {
                return Err(Problem::new("55P02", format!("`{name}` cannot be changed")).hint("it can be shown"));
            }
            _ => value.chars().take(256).collect(),
        };
        self.values.insert(key, (name, value.clone()));
        Ok((REPORTED.contains(&name).then_some((name, value)), notice))
    }

    /// Sets every setting to its default.
    pub fn reset(&mut self) -> Vec<(&'static str, String)> {
        let before = self.clone();
        *self = Self::new(before.show("session_authorization").unwrap_or_default(), before.cap);
        self.changed(&before)
    }

    /// Those that clients want to hear of, where they are others than in `before`.
    pub fn changed(&self, before: &Self) -> Vec<Told> {
        let changed = self.reported().filter(|(name, value)| before.show(name) != Some(value));
        changed.map(|(name, value)| (name, value.to_owned())).collect()
    }

    fn time(&self, text: &str) -> Result<(Option<Duration>, Option<Problem>), Problem> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let ms = match text[digits..].trim() {
            "" | "ms" => Some(1),
            "us" => Some(0),
            "s" => Some(1_000),
            "min" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let count: Option<u64> = text[..digits].parse().ok();
        let (Some(ms), Some(count)) = (ms, count) else {
            return Err(Problem::new("22023", format!("`{text}` is no time")).hint("`SET statement_timeout = '5s'`"));
        };
        let asked = Duration::from_millis(if ms == 0 { count / 1_000 } else { count.saturating_mul(ms) });
        match asked {
            asked if asked.is_zero() => Ok((None, None)),
            asked if asked > self.cap => {
                let text =
                    format!("statement_timeout was cut to {} s, the most that is configured", self.cap.as_secs_f64());
                Ok((Some(self.cap), Some(Problem::new("00000", text).hint("`query.timeout` raises it"))))
            }
            asked => Ok((Some(asked), None)),
        }
    }
}

fn zone(text: &str) -> Result<(TimeZone, String), Problem> {
    let plain = text.trim().trim_matches('\'');
    if ["utc", "gmt", "z", "zulu", "etc/utc", "+00", "0"].iter().any(|utc| plain.eq_ignore_ascii_case(utc)) {
        return Ok((TimeZone::UTC, "UTC".to_owned()));
    }
    // As PostgreSQL reads them: a number alone is hours east; any other offset is written as POSIX has it, where what is
    // added leads back to UTC. Java's driver turns `GMT+05:30` around for that, and sends `GMT-05:30`.
    let hours = plain.parse::<i8>().ok().and_then(|hours| jiff::tz::Offset::from_hours(hours).ok());
    let named = || TimeZone::get(plain).ok();
    let posix = || match plain.starts_with(['+', '-']) || plain.starts_with(|c: char| c.is_ascii_digit()) {
        true => TimeZone::posix(&format!("GMT{plain}")).ok(),
        false => TimeZone::posix(plain).ok(),
    };
    match hours.map(TimeZone::fixed).or_else(named).or_else(posix) {
        Some(zone) => Ok((zone, plain.to_owned())),
        None => Err(Problem::new("22023", format!("there is no time zone `{plain}`")).hint("`SET TimeZone = 'UTC'`")),
    }
}

fn is_utf8(value: &str) -> bool {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    ["utf8", "unicode", "auto", "sqlascii"].iter().any(|name| plain.eq_ignore_ascii_case(name))
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("me", Duration::from_secs(30))
    }

    #[test]
    fn a_timeout_is_read_in_its_units_and_cut_to_the_cap() {
        let mut settings = settings();
        for (text, ms) in [("500", 500), ("5s", 5_000), ("'1 s'", 0), ("0", 0), ("1500000us", 1_500)] {
            match settings.set("statement_timeout", Some(text)) {
                Ok((_, None)) => assert_eq!(settings.timeout(), (ms > 0).then(|| Duration::from_millis(ms)), "{text}"),
                other => assert!(text.starts_with('\''), "{text}: {other:?}"),
            }
        }
        let (_, notice) = settings.set("STATEMENT_TIMEOUT", Some("1h")).unwrap();
        assert_eq!(settings.timeout(), Some(Duration::from_secs(30)));
        assert!(notice.unwrap().message.contains("30 s"));
        assert_eq!(settings.show("statement_timeout"), Some("30000ms"));
    }

    #[test]
    fn zones_are_those_of_the_tz_database_and_offsets() {
        let mut settings = settings();
        settings.set("timezone", Some("Europe/Berlin")).unwrap();
        assert_eq!(settings.show("TimeZone"), Some("Europe/Berlin"));
        // `GMT+05:30` of Java comes as `GMT-05:30`: offsets with a name or minutes have the sign of POSIX.
        for (text, seconds) in [
            ("GMT-05:30", 19_800),
            ("GMT+05:30", -19_800),
            ("GMT-3", 10_800),
            ("-05:30", 19_800),
            ("<+0530>-05:30", 19_800),
            ("'+2'", 7_200),
            ("-7", -25_200),
            ("Etc/GMT-3", 10_800),
        ] {
            settings.set("timezone", Some(text)).unwrap();
            let offset = settings.zone().to_offset(jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(offset.seconds(), seconds, "{text}");
        }
        assert_eq!(settings.set("timezone", Some("Mars")).unwrap_err().state, "22023");
        assert!(settings.reset().iter().any(|(name, value)| *name == "TimeZone" && value == "UTC"));
        assert_eq!(settings.zone(), &TimeZone::UTC);
    }

    #[test]
    fn only_the_listed_can_be_set() {
        let mut settings = settings();
        assert_eq!(settings.set("server_version", Some("9")).unwrap_err().state, "55P02");
        assert_eq!(settings.set("datafusion.execution.batch_size", Some("1")).unwrap(), (None, None));
        assert_eq!(settings.show("datafusion.execution.batch_size"), None);
        assert_eq!(settings.set("no_such", Some("1")).unwrap_err().state, "42704");
        assert_eq!(settings.set("client_encoding", Some("LATIN1")).unwrap_err().state, "22023");
        assert_eq!(settings.set("client_encoding", Some("utf-8")).unwrap().0.unwrap().1, "UTF8");
        assert_eq!(settings.set("application_name", Some("a")).unwrap().0, Some(("application_name", "a".to_owned())));
    }
}
