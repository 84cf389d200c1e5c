//! Changes of a text that keep most of it: what tests and the fuzzer do to valid histories.

/// What stands in for a number or a word somewhere in a line.
const ODD: &[&str] = &[
    "-1",
    "0",
    "65535",
    "2147483647",
    "-2147483648",
    "4294967296",
    "1152921504606846975",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
    "0.5",
    "null",
    "nil",
    "true",
    "\"\"",
    "\"\u{0}\"",
    "\"a#1099511627776\"",
    "[]",
    "{}",
    ":type",
    "\\",
];

/// One change of a text; `at` and `to` are anywhere.
pub(crate) fn change(text: &mut Vec<u8>, (what, at, to, odd): (u8, usize, usize, usize)) {
    if text.is_empty() {
        return;
    }
    let (at, to) = (at % text.len(), to % text.len());
    let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let (line, other) = (at % lines.len(), to % lines.len());
    match what % 8 {
        0 => text.truncate(at),
        1 => text[at] ^= 1 << (odd % 8),
        2 => text[at] = [0, 0xff, 0xc3, b'[', b'{', b'"', b'#', b'\n'][odd % 8],
        3 => drop(text.drain(at.min(to)..at.max(to).min(at.min(to) + 40))),
        4 => {
            let line = lines[line].clone();
            lines.insert(other, line);
            *text = lines.join(&b'\n');
        }
        5 => {
            lines.swap(line, other);
            *text = lines.join(&b'\n');
        }
        6 => drop(lines.remove(line)),
        // Numbers and words, where a mistake still is a line.
        _ => {
            let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
            let from = text[at..].iter().position(u8::is_ascii_digit).map_or(at, |n| at + n);
            let len = text[from..].iter().take_while(|b| word(b)).count();
            drop(text.splice(from..from + len, ODD[odd % ODD.len()].bytes()));
        }
    }
    if what % 8 == 6 {
        *text = lines.join(&b'\n');
    }
}
