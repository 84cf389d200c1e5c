//! What keeps SQLite a function of the seed: no wall clock, no randomness, no files, no end.
//!
//! Mirrors SQLite's application-defined functions (which take precedence over built-in ones), its
//! authorizer, its progress handler and its limits. `random()` is drawn from the run's seed,
//! `CURRENT_TIMESTAMP` and its like are virtual time, counted from 1970-01-01. What reads the wall
//! clock otherwise, and whatever reaches outside of the database, is refused in words that say what
//! to write instead.
//!
//! Simplification: the functions of dates are refused altogether, also where they would compute
//! with values of the statement's own; effects rarely do, and `:now` serves all of them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::images;
use super::lexer::{Piece, Token, TokenKind};
use crate::image::mix;

/// Virtual machine instructions between two looks at the budget.
const STEPS_PER_LOOK: i32 = 4096;
/// Looks that one statement may have: some eight million instructions.
const LOOKS: u64 = 2048;
/// Bytes of a value, of a row, or of a statement.
const LENGTH_BYTES_MAX: i32 = 1 << 20;
/// Pages of a database: 64 MiB.
const PAGES_MAX: u32 = 16_384;
/// How deeply expressions and triggers nest.
const DEPTH_MAX: i32 = 200;

/// Functions that are refused, and what to write instead.
const REFUSED_FUNCTIONS: [(&str, &str); 9] = [
    ("date", CLOCK),
    ("time", CLOCK),
    ("datetime", CLOCK),
    ("julianday", CLOCK),
    ("strftime", CLOCK),
    ("unixepoch", CLOCK),
    ("timediff", CLOCK),
    ("randomblob", "write random(), which is drawn from the seed of the run"),
    ("load_extension", "there are no extensions"),
];
const CLOCK: &str =
    "write :now (milliseconds) or CURRENT_TIMESTAMP, which follow the virtual time of the run";

/// Statements that are refused by their first word, and why.
const REFUSED_STATEMENTS: [(&str, &str); 11] = [
    ("BEGIN", TRANSACTION),
    ("COMMIT", TRANSACTION),
    ("END", TRANSACTION),
    ("ROLLBACK", TRANSACTION),
    ("SAVEPOINT", TRANSACTION),
    ("RELEASE", TRANSACTION),
    ("ATTACH", "the database has no files"),
    ("DETACH", "the database has no files"),
    ("VACUUM", "the database has no files"),
    ("PRAGMA", "the settings of the database are the same in every run"),
    ("EXPLAIN", "write the statement itself"),
];
const TRANSACTION: &str =
    "transactions are opened and ended by the application, as the scenario says";

/// What a connection shares with the functions that SQLite calls.
#[derive(Debug, Default)]
pub(super) struct Shared {
    now_ms: AtomicI64,
    seed: u64,
    draws: AtomicU64,
    looks: AtomicU64,
    trusted: AtomicBool,
    refusal: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Shared { seed, ..Shared::default() })
    }

    /// A statement begins at this time: its budget is full.
    pub(super) fn begin_statement(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.looks.store(0, Ordering::Relaxed);
    }

    /// From here on statements are the simulator's own (`true`), or the user's.
    pub(super) fn trust(&self, trusted: bool) {
        self.trusted.store(trusted, Ordering::Relaxed);
    }

    /// Why the last statement was not authorized, if it was not.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn refuse(&self, sentence: String) -> Authorization {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence);
        Authorization::Deny
    }

    fn draw(&self) -> i64 {
        let count = self.draws.fetch_add(1, Ordering::Relaxed);
        let drawn = mix(self.seed ^ mix(count)).cast_signed();
        // As SQLite's own: abs() of it never overflows.
        if drawn < 0 { -(drawn & i64::MAX) } else { drawn }
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        if self.trusted.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match context.action {
            AuthAction::Function { function_name: images::FUNCTION }
                if context.accessor.is_none() =>
            {
                self.refuse(format!("{}() is the simulator's own", images::FUNCTION))
            }
            AuthAction::Function { function_name } => match refused_function(function_name) {
                Some(sentence) => self.refuse(sentence),
                None => Authorization::Allow,
            },
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                self.refuse("the database has no files".to_owned())
            }
            AuthAction::Pragma { pragma_name, .. } => self.refuse(format!(
                "{pragma_name}: a setting of the database cannot be read or changed"
            )),
            AuthAction::CreateVtable { .. } | AuthAction::DropVtable { .. } => self.refuse(
                "the rows of a virtual table cannot be followed: write CREATE TABLE".to_owned(),
            ),
            AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::CreateTempIndex { .. } => self.refuse(
                "what is temporary would be gone when the connection closes: leave TEMP out"
                    .to_owned(),
            ),
            _ => Authorization::Allow,
        }
    }
}

/// Makes `connection` deterministic and harmless.
pub(super) fn install(
    connection: &mut rusqlite::Connection,
    shared: &Arc<Shared>,
) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA temp_store = MEMORY; PRAGMA max_page_count = {PAGES_MAX};"
    ))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LENGTH_BYTES_MAX)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LENGTH_BYTES_MAX)?;
    connection.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, DEPTH_MAX)?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, DEPTH_MAX)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let seeded = Arc::clone(shared);
    connection.create_scalar_function(c"random", 0, flags, move |_| Ok(seeded.draw()))?;
    let clock = Arc::clone(shared);
    connection.create_scalar_function(c"current_timestamp", 0, flags, move |_| {
        let (date, time) = calendar(clock.now_ms.load(Ordering::Relaxed));
        Ok(format!("{date} {time}"))
    })?;
    let clock = Arc::clone(shared);
    connection.create_scalar_function(c"current_date", 0, flags, move |_| {
        Ok(calendar(clock.now_ms.load(Ordering::Relaxed)).0)
    })?;
    let clock = Arc::clone(shared);
    connection.create_scalar_function(c"current_time", 0, flags, move |_| {
        Ok(calendar(clock.now_ms.load(Ordering::Relaxed)).1)
    })?;
    for (name, _) in REFUSED_FUNCTIONS {
        // The authorizer does not see the functions of a column's default value.
        connection.create_scalar_function(name, -1, flags, move |_| -> rusqlite::Result<i64> {
            let sentence = refused_function(name).unwrap_or_default();
            Err(rusqlite::Error::UserFunctionError(sentence.into()))
        })?;
    }
    let judge = Arc::clone(shared);
    connection.authorizer(Some(move |context: AuthContext<'_>| judge.authorize(&context)))?;
    let budget = Arc::clone(shared);
    connection.progress_handler(
        STEPS_PER_LOOK,
        Some(move || budget.looks.fetch_add(1, Ordering::Relaxed) > LOOKS),
    )
}

/// The sentence about a function that is refused.
fn refused_function(name: &str) -> Option<String> {
    REFUSED_FUNCTIONS
        .iter()
        .find(|(refused, _)| refused.eq_ignore_ascii_case(name))
        .map(|(refused, instead)| format!("{refused}() is not available: {instead}"))
}

/// Where in `tokens` a refused function is called, or may be: `date(...)` can be a type, too.
pub(super) fn refused_call(tokens: &[Token<'_>]) -> Option<usize> {
    tokens
        .windows(2)
        .find(|pair| {
            pair[1].kind == TokenKind::Open
                && pair[0].kind == TokenKind::Word
                && refused_function(pair[0].text).is_some()
        })
        .map(|pair| pair[0].start)
}

/// What SQLite would not tell, or only when it is too late: statements that are refused, functions
/// of default values, and the one conflict clause that leaves half a statement behind. Returns the
/// sentence and where.
pub(super) fn refused_text(piece: &Piece<'_>) -> Option<(String, usize)> {
    let tokens = &piece.tokens;
    let first = tokens.first()?;
    if let Some((word, why)) = REFUSED_STATEMENTS.iter().find(|(word, _)| first.is(word)) {
        return Some((format!("{word} is not available: {why}"), first.start));
    }
    let fail = tokens.windows(2).find(|pair| {
        pair[1].is("FAIL")
            && (pair[0].is("OR") || pair[0].is("CONFLICT") || pair[0].kind == TokenKind::Open)
    });
    if let Some(pair) = fail {
        let why = "FAIL keeps half of a statement: write ABORT, or leave it out";
        return Some((why.to_owned(), pair[1].start));
    }
    if !first.is("CREATE") {
        return None;
    }
    let mut rest = tokens.as_slice();
    while let Some(at) = rest.iter().position(|token| token.is("DEFAULT")) {
        rest = &rest[at + 1..];
        if rest.first().is_some_and(|token| token.kind == TokenKind::Open) {
            let value = &rest[..parenthesis(rest)];
            if let Some(start) = refused_call(value) {
                let token = value.iter().find(|token| token.start == start);
                let sentence = token.and_then(|token| refused_function(token.text));
                return Some((sentence.unwrap_or_default(), start));
            }
        }
    }
    None
}

/// How many tokens the parenthesis that opens `tokens` has.
fn parenthesis(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Date and time of day, as SQLite writes them, so many milliseconds after 1970-01-01.
fn calendar(now_ms: i64) -> (String, String) {
    let seconds = now_ms.div_euclid(1000);
    let (mut day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970_i64;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Virtual time ends after 584 years.
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    (format!("{year:04}-{month:02}-{:02}", day + 1), format!("{hour:02}:{minute:02}:{second:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_has_dates_of_its_own() {
        for (now_ms, date, time) in [
            (0, "1970-01-01", "00:00:00"),
            (86_399_999, "1970-01-01", "23:59:59"),
            (951_782_400_000, "2000-02-29", "00:00:00"),
            (1_709_210_096_500, "2024-02-29", "12:34:56"),
            (1_735_689_599_000, "2024-12-31", "23:59:59"),
        ] {
            assert_eq!(calendar(now_ms), (date.to_owned(), time.to_owned()), "{now_ms}");
        }
    }
}
