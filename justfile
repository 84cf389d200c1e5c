# List the recipes.
_default:
    @just --list --unsorted

# Everything that CI runs, in the same order.
ci:
    bash .ci/run

# Format, lint and check that everything builds.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, or those whose name contains FILTER.
test *FILTER:
    cargo test --workspace {{FILTER}}

# The command line, with arguments passed through: just sim run FILE --seed 42
sim *ARGS:
    cargo run --release -- {{ARGS}}

# Every scenario of the corpus on N seeds.
seeds N="1000":
    cargo run --release -- fuzz scenarios/corpus --seeds {{N}}

# Run a counterexample again.
replay FILE:
    cargo run --release -- replay {{FILE}}

# Hunt the planted bugs.
mutants:
    cargo run --release -- mutants

# The table of docs/mutants.md, to be pasted there.
mutants-table:
    cargo run --release -- mutants --markdown

# Write docs/guarantees.md anew.
guarantees:
    mkdir -p reports/out && cargo run --release -- matrix --format markdown > reports/out/guarantees.md
    mv reports/out/guarantees.md docs/guarantees.md

# Run all of docs/guarantees.md again and compare.
guarantees-check:
    cargo test --release -p oncesim-cli --test it -- --ignored the_whole_page_of_guarantees

# Measure against the figures to reach.
bench *ARGS:
    cargo run --release -- bench {{ARGS}}

# Accept changed golden files, regenerate the schema and the pages of anomalies and costs; read the difference before committing it.
bless:
    INSTA_UPDATE=always cargo test -p oncesim-render -p oncesim-spec
    cargo run -- schema > scenarios/scenario.schema.json
    cargo run -- anomalies --markdown > docs/anomalies.md
    ONCESIM_BLESS=1 cargo test -p oncesim-cli --test it the_page_of_costs

# Licences, duplicates and sources of dependencies (needs cargo-deny).
deny:
    cargo deny check licenses bans sources
