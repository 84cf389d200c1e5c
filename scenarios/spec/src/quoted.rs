//! TOML strings read back: which byte of the file a byte of a value came from.

/// A string as it is written, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unquoted {
    /// Its value.
    pub(crate) text: String,
    /// For each character of the value, its first byte there and in what is written; the ends last.
    map: Vec<(usize, usize)>,
}

impl Unquoted {
    /// The byte of what is written that a byte of the value came from.
    pub(crate) fn raw(&self, offset: usize) -> Option<usize> {
        let index = self.map.partition_point(|(value, _)| *value <= offset).checked_sub(1)?;
        self.map.get(index).map(|(_, raw)| *raw)
    }
}

/// Reads a string of any of TOML's four kinds; what is none stands for itself (`--set a=b`). `None`
/// if it is broken.
pub(crate) fn unquote(written: &str) -> Option<Unquoted> {
    let kinds = [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)];
    let Some((quote, escapes)) = kinds.into_iter().find(|(q, _)| written.starts_with(q)) else {
        return Some(walk(written, 0, false)?.0);
    };
    let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut start = quote.len();
    let mut body = inner;
    if quote.len() == 3 {
        let trimmed = inner.strip_prefix("\r\n").or_else(|| inner.strip_prefix('\n'));
        body = trimmed.unwrap_or(inner);
        start += inner.len() - body.len();
    }
    let (read, end) = walk(body, start, escapes)?;
    (end == start + body.len()).then_some(read)
}

fn walk(body: &str, start: usize, escapes: bool) -> Option<(Unquoted, usize)> {
    let mut read = Unquoted { text: String::new(), map: Vec::new() };
    let mut at = 0;
    while let Some(c) = body[at..].chars().next() {
        if c != '\\' || !escapes {
            read.map.push((read.text.len(), start + at));
            read.text.push(c);
            at += c.len_utf8();
            continue;
        }
        let rest = &body[at + 1..];
        let code = rest.chars().next()?;
        let digits = match code {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let plain = match code {
            'b' => Some('\u{8}'),
            't' => Some('\t'),
            'n' => Some('\n'),
            'f' => Some('\u{c}'),
            'r' => Some('\r'),
            'e' => Some('\u{1b}'),
            '"' | '\\' => Some(code),
            _ if digits > 0 => char::from_u32(u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?),
            _ => None,
        };
        match plain {
            Some(c) => {
                read.map.push((read.text.len(), start + at));
                read.text.push(c);
                at += 2 + digits;
            }
            // A backslash at the end of a line: the line break and the spaces around it are not there.
            None if code.is_whitespace() => at += 1 + rest.len() - rest.trim_start().len(),
            None => return None,
        }
    }
    read.map.push((read.text.len(), start + at));
    Some((read, start + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_string_is_read_with_its_places() {
        for (written, value, word, raw) in [
            ("'a b'", "a b", "b", 3),
            ("\"a\\n\\\"b\\\" c\"", "a\n\"b\" c", "c", 10),
            ("'''\nx\n  y'''", "x\n  y", "y", 8),
            ("\"\"\"\r\nx \\\n   y\"\"\"", "x y", "y", 12),
            ("\"\\u00e9 z\"", "é z", "z", 8),
            ("bare word", "bare word", "word", 5),
        ] {
            let read = unquote(written).unwrap();
            assert_eq!(read.text, value);
            let at = value.find(word).unwrap();
            assert_eq!(read.raw(at), Some(raw), "{written}");
            assert!(written[raw..].starts_with(word), "{written}");
        }
        for broken in ["\"a", "\"\\q\"", "\"\\u12\""] {
            assert_eq!(unquote(broken), None, "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_toml_writes_is_read_as_toml_reads_it(value in ".{0,40}", multi in "[a-z\"'\\\\\n é]{0,30}") {
            for value in [value, multi] {
                let written = toml_edit::Value::from(value.as_str()).to_string();
                let read = unquote(&written).unwrap();
                proptest::prop_assert_eq!(&read.text, &value);
                for (at, c) in value.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
                    let raw = read.raw(at).unwrap();
                    proptest::prop_assert!(written[raw..].starts_with(c));
                }
            }
        }
    }
}
