//! Cases of names (semconv.md 9.3).
//!
//! Duty: words of a name and the ways to write them. Guarantee: digits never split a word; `.` counts as `_`.

/// A way to write words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
    Title,
    Camel,
    Pascal,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

/// Filters by case; the `_const` ones drop `_` first.
pub(super) const FILTERS: [(&str, Case, bool); 14] = [
    ("lower_case", Case::Lower, false),
    ("upper_case", Case::Upper, false),
    ("title_case", Case::Title, false),
    ("camel_case", Case::Camel, false),
    ("pascal_case", Case::Pascal, false),
    ("snake_case", Case::Snake, false),
    ("screaming_snake_case", Case::ScreamingSnake, false),
    ("kebab_case", Case::Kebab, false),
    ("screaming_kebab_case", Case::ScreamingKebab, false),
    ("snake_case_const", Case::Snake, true),
    ("screaming_snake_case_const", Case::ScreamingSnake, true),
    ("kebab_case_const", Case::Kebab, true),
    ("camel_case_const", Case::Camel, true),
    ("pascal_case_const", Case::Pascal, true),
];

/// `text` in `case`.
pub(super) fn convert(text: &str, case: Case, drop_underscores: bool) -> String {
    let text = if drop_underscores { text.replace('_', "") } else { text.to_owned() };
    let words = words(&text);
    let write = |at: usize, word: &String| match case {
        Case::Lower | Case::Snake | Case::Kebab => word.to_lowercase(),
        Case::Upper | Case::ScreamingSnake | Case::ScreamingKebab => word.to_uppercase(),
        Case::Camel if at == 0 => word.to_lowercase(),
        Case::Title | Case::Pascal | Case::Camel => capitalized(word),
    };
    let joint = match case {
        Case::Lower | Case::Upper | Case::Title => " ",
        Case::Camel | Case::Pascal => "",
        Case::Snake | Case::ScreamingSnake => "_",
        Case::Kebab | Case::ScreamingKebab => "-",
    };
    words.iter().enumerate().map(|(at, word)| write(at, word)).collect::<Vec<_>>().join(joint)
}

/// `text` with its first letter in upper case.
pub(super) fn capitalize_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn capitalized(word: &str) -> String {
    capitalize_first(&word.to_lowercase())
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        if matches!(c, '_' | '-' | ' ' | '.') {
            words.push(std::mem::take(&mut word));
            continue;
        }
        let before = at.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(at + 1);
        let rises = c.is_uppercase() && before.is_some_and(char::is_lowercase);
        let acronym_ends =
            c.is_uppercase() && before.is_some_and(char::is_uppercase) && after.is_some_and(|c| c.is_lowercase());
        if rises || acronym_ends {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_where_the_table_says() {
        for (text, case, want) in [
            ("http.request.method_original", Case::Pascal, "HttpRequestMethodOriginal"),
            ("http.request.method", Case::Camel, "httpRequestMethod"),
            ("HTTPServer2Go", Case::Snake, "http_server2go"),
            ("k8s.pod-name", Case::ScreamingSnake, "K8S_POD_NAME"),
            ("aBC dEF", Case::Kebab, "a-bc-d-ef"),
            ("messaging.client_id", Case::Title, "Messaging Client Id"),
            ("", Case::Pascal, ""),
        ] {
            assert_eq!(convert(text, case, false), want, "{text}");
        }
        assert_eq!(convert("messaging.client_id", Case::ScreamingSnake, true), "MESSAGING_CLIENTID");
        assert_eq!(capitalize_first("éa B"), "Éa B");
    }
}
