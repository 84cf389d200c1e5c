//! Tokens of SQL text: where statements begin and end, and which words they consist of.
//!
//! Mirrors SQLite's tokenizer (`tokenize.c`) and `sqlite3_complete` (a statement of a trigger ends
//! with `; END`).
//!
//! Simplification: it decides nothing about syntax. SQLite parses every statement afterwards; what
//! is read wrongly here ends as a complaint of SQLite's.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A keyword or a name that is not quoted.
    Word,
    /// A placeholder: `:id`, `?1`, `@x`, `$y`.
    Placeholder,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// A quoted name.
    Quoted,
    /// Anything else: strings, numbers, operators.
    Other,
}

/// A token: bytes `start..end` of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// What it is.
    pub(super) kind: TokenKind,
    /// Its text.
    pub(super) text: &'a str,
    /// Where it begins.
    pub(super) start: usize,
}

impl Token<'_> {
    /// Whether it is this keyword or name, in whatever case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// The name that it is, without quotes.
    pub(super) fn name(&self) -> &str {
        self.text.trim_matches(['"', '`', '[', ']'])
    }

    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// One statement of a text, without its `;`.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// Its text, from its first token to its last.
    pub(super) text: &'a str,
    /// Where it begins in the whole text.
    pub(super) start: usize,
    /// Its tokens; never empty. They count from the beginning of the whole text.
    pub(super) tokens: Vec<Token<'a>>,
}

/// All tokens of `text`; white space and comments are none.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (kind, length) = next(&text[at..]);
        let end = at + length;
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: &text[at..end], start: at });
        }
        at = end;
    }
    tokens
}

/// The statements of `text`.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut current: Vec<Token<'_>> = Vec::new();
    for token in tokens(text) {
        if token.kind == TokenKind::Semicolon && is_complete(&current) {
            finish(text, &mut current, &mut pieces);
        } else {
            current.push(token);
        }
    }
    finish(text, &mut current, &mut pieces);
    pieces
}

fn finish<'a>(text: &'a str, current: &mut Vec<Token<'a>>, pieces: &mut Vec<Piece<'a>>) {
    let tokens = std::mem::take(current);
    if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
        let start = first.start;
        pieces.push(Piece { text: &text[start..last.end()], start, tokens });
    }
}

/// Whether a `;` after these tokens ends the statement: inside of a trigger only one after `; END`.
fn is_complete(tokens: &[Token<'_>]) -> bool {
    let mut words = tokens.iter().take(3);
    let creates = words.next().is_some_and(|word| word.is("CREATE"));
    let trigger = creates
        && match words.next() {
            Some(word) if word.is("TRIGGER") => true,
            Some(word) if word.is("TEMP") || word.is("TEMPORARY") => {
                words.next().is_some_and(|word| word.is("TRIGGER"))
            }
            _ => false,
        };
    if !trigger {
        return true;
    }
    match tokens {
        [.., before, last] => before.kind == TokenKind::Semicolon && last.is("END"),
        _ => false,
    }
}

/// Kind (`None`: white space, or a comment) and length of the token at the beginning of `rest`,
/// which is not empty.
fn next(rest: &str) -> (Option<TokenKind>, usize) {
    let bytes = rest.as_bytes();
    let first = bytes[0];
    let other = rest.chars().next().map_or(1, char::len_utf8);
    match first {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0c => (None, 1),
        b'-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
        b'/' if rest.starts_with("/*") => {
            (None, rest[2..].find("*/").map_or(rest.len(), |at| at + 4))
        }
        b';' => (Some(TokenKind::Semicolon), 1),
        b'(' => (Some(TokenKind::Open), 1),
        b')' => (Some(TokenKind::Close), 1),
        b'\'' => (Some(TokenKind::Other), quoted(rest, b'\'')),
        b'"' | b'`' => (Some(TokenKind::Quoted), quoted(rest, first)),
        b'[' => (Some(TokenKind::Quoted), rest.find(']').map_or(rest.len(), |at| at + 1)),
        b':' | b'@' | b'$' | b'#' => {
            let length = 1 + word(&rest[1..]);
            (Some(if length > 1 { TokenKind::Placeholder } else { TokenKind::Other }), length)
        }
        b'?' => {
            let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
            (Some(TokenKind::Placeholder), 1 + digits)
        }
        b'x' | b'X' if bytes.get(1) == Some(&b'\'') => {
            (Some(TokenKind::Other), 1 + quoted(&rest[1..], b'\''))
        }
        _ if first.is_ascii_digit() => (Some(TokenKind::Other), word(rest)),
        _ if first.is_ascii_alphabetic() || first == b'_' || first >= 0x80 => {
            (Some(TokenKind::Word), word(rest))
        }
        _ => (Some(TokenKind::Other), other),
    }
}

/// Length of the word at the beginning of `rest`.
fn word(rest: &str) -> usize {
    rest.find(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != '$')
        .unwrap_or(rest.len())
}

/// Length of the quoted text at the beginning of `rest`; a doubled quote stands for itself.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        pieces(text).iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        for (text, expected) in [
            ("", vec![]),
            (" ; ;; -- nothing", vec![]),
            ("SELECT 1", vec!["SELECT 1"]),
            (
                "SELECT ';', \";\", [;], `;` ; SELECT 2;",
                vec!["SELECT ';', \";\", [;], `;`", "SELECT 2"],
            ),
            ("SELECT 'it''s; so'; /* ; */ SELECT 2 -- ;", vec!["SELECT 'it''s; so'", "SELECT 2"]),
            (
                "CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3; END; SELECT 4",
                vec![
                    "CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3; END",
                    "SELECT 4",
                ],
            ),
            ("/* never closed", vec![]),
            ("SELECT 'never closed; ", vec!["SELECT 'never closed; "]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn placeholders_are_tokens_of_their_own() {
        let found: Vec<&str> = tokens("SELECT :id, ?1, ?, @a, $b, ':no', a::b FROM t -- :not")
            .into_iter()
            .filter(|token| token.kind == TokenKind::Placeholder)
            .map(|token| token.text)
            .collect();
        assert_eq!(found, [":id", "?1", "?", "@a", "$b", ":b"]);
    }
}
