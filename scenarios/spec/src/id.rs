//! Ids of diagnostics. An id never changes its meaning.

/// A file cannot be read.
pub(crate) const UNREADABLE: &str = "S0101";
/// Not TOML.
pub(crate) const SYNTAX: &str = "S0102";
/// A key that nobody reads.
pub(crate) const UNKNOWN_KEY: &str = "S0103";
/// A string where a number belongs.
pub(crate) const WRONG_TYPE: &str = "S0104";
/// A value that cannot be read: a unit, a ratio, a name.
pub(crate) const BAD_VALUE: &str = "S0105";
/// A key that must be there.
pub(crate) const MISSING_KEY: &str = "S0106";
/// A number outside of its range.
pub(crate) const OUT_OF_RANGE: &str = "S0107";
/// Part of the language, not of this version.
pub(crate) const NOT_MODELLED: &str = "S0108";
/// Not one of a closed set of words.
pub(crate) const UNKNOWN_WORD: &str = "S0109";
/// Two keys that exclude each other.
pub(crate) const CONFLICT: &str = "S0110";
/// The same name twice.
pub(crate) const DUPLICATE: &str = "S0111";
/// A topic that is not declared.
pub(crate) const UNKNOWN_TOPIC: &str = "S0201";
/// An actor that does not exist.
pub(crate) const UNKNOWN_ACTOR: &str = "S0202";
/// An API that does not exist.
pub(crate) const UNKNOWN_API: &str = "S0203";
/// An anomaly that no checker reports.
pub(crate) const UNKNOWN_ANOMALY: &str = "S0204";
/// A partition that does not exist.
pub(crate) const UNKNOWN_PARTITION: &str = "S0205";
/// A group that does not exist.
pub(crate) const UNKNOWN_GROUP: &str = "S0206";
/// A planted bug that does not exist.
pub(crate) const UNKNOWN_MUTATION: &str = "S0207";
/// A transactional id that does not exist.
pub(crate) const UNKNOWN_TRANSACTIONAL_ID: &str = "S0208";
/// A system, or a database, that is not declared.
pub(crate) const UNKNOWN_SYSTEM: &str = "S0209";
/// A sink that is not declared.
pub(crate) const UNKNOWN_SINK: &str = "S0210";
/// More replicas than brokers.
pub(crate) const TOO_FEW_BROKERS: &str = "S0301";
/// More in-sync replicas asked for than replicas exist.
pub(crate) const MIN_ISR_ABOVE_REPLICATION: &str = "S0302";
/// A name that is taken or cannot be a name.
pub(crate) const BAD_NAME: &str = "S0303";
/// A Kafka property that Kafka does not know.
pub(crate) const UNKNOWN_PROPERTY: &str = "S0401";
/// A value that Kafka refuses.
pub(crate) const BAD_PROPERTY: &str = "S0402";
/// Properties that contradict each other: Kafka's `ConfigException`.
pub(crate) const PROPERTY_CONFLICT: &str = "S0403";
/// A Kafka property that exists and has no effect here.
pub(crate) const PROPERTY_NOT_MODELLED: &str = "S0404";
/// What Kafka does silently, said aloud.
pub(crate) const PROPERTY_SURPRISE: &str = "S0405";
/// Nothing is claimed.
pub(crate) const NO_CLAIM: &str = "S0501";
/// A claim that the scenario cannot keep or does not exercise.
pub(crate) const DOUBTFUL_CLAIM: &str = "S0502";
/// A fault without kind, or with two.
pub(crate) const FAULT_KIND: &str = "S0601";
/// A fault without trigger, or with two.
pub(crate) const FAULT_TRIGGER: &str = "S0602";
/// A value that cannot be varied.
pub(crate) const BAD_VARIATION: &str = "S0603";
/// A counterexample of another version.
pub(crate) const OTHER_VERSION: &str = "S0701";
/// A `--set` that cannot be applied.
pub(crate) const BAD_SET: &str = "S0801";
/// What SQLite refuses.
pub(crate) const SQL: &str = "S0901";
/// A placeholder that a statement's role does not know.
pub(crate) const SQL_PLACEHOLDER: &str = "S0902";
/// A statement that cannot play its role.
pub(crate) const SQL_ROLE: &str = "S0903";
/// SQL that runs, and probably not as its author believes.
pub(crate) const SQL_SURPRISE: &str = "S0904";
