//! The definitions in `docs/campaigns` for engines with more than one machine: their commands are run
//! as they stand, with the variables that the engine would set, and give what one machine gives.

use std::collections::BTreeMap;
use std::process::Command;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

use crate::campaign::timeless;
use crate::shell::{Folder, root};

const SCENARIO: &str =
    "scenarios/corpus/exactly-once/a-retry-older-than-the-five-cached-batches-is-refused.toml";
/// Instead of the many machines and seeds of the definitions.
const SHARDS: u64 = 3;
const SEEDS: &str = "40";

fn definition(name: &str) -> Value {
    let path = root().join("docs/campaigns").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let [document] = &documents[..] else { panic!("{name}: one document") };
    value(document)
}

/// YAML as JSON has it.
fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Mapping(fields) => {
            let name = |key: &Yaml<'_>| key.as_str().expect("keys are text").to_owned();
            Value::Object(fields.iter().map(|(key, field)| (name(key), value(field))).collect())
        }
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect()),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(truth)) => Value::Bool(*truth),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
        other => panic!("not in our definitions: {other:?}"),
    }
}

/// Variables by their names.
type Variables = BTreeMap<String, String>;

/// A folder in which `oncesim` is where the definitions expect it.
fn machine() -> Folder {
    let folder = Folder::new();
    for path in ["bin/oncesim", "target/release/oncesim"] {
        let path = folder.path(path);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_oncesim"), path).expect("a link");
    }
    folder
}

/// Runs a command in a folder; gives the exit code and standard output.
fn run(folder: &Folder, shell: &[&str], script: &str, variables: &Variables) -> (i32, String) {
    let path =
        format!("{}:{}", folder.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).current_dir(folder.path(""));
    command.env("PATH", path).env("NO_COLOR", "1").envs(variables);
    let done = command.output().expect("there is a shell");
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let told = String::from_utf8_lossy(&done.stderr);
    (done.status.code().unwrap_or_else(|| panic!("killed: {told}")), out + &told)
}

/// What one machine has to say.
fn unsharded(from: &str) -> Value {
    let folder = Folder::new();
    let args = ["fuzz", SCENARIO, "--seeds", SEEDS, "--from", from, "--results", "results.json"];
    let done = folder.oncesim(&args);
    assert_eq!(done.code, 0, "{}", done.err);
    let one = folder.oncesim(&["merge", "results.json", "--format", "json"]);
    document(&one.out)
}

fn document(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    timeless(&mut value);
    value
}

/// The merged results, as a document.
fn merged(folder: &Folder, file: &str) -> Value {
    document(&folder.oncesim(&["merge", file, "--format", "json"]).out)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `env` of a workflow, a job or a step; expressions are filled in as GitHub does.
fn env_of(place: &Value, expressions: &[(&str, String)]) -> Variables {
    let fields = place["env"].as_object().into_iter().flatten();
    let fill = |value: &Value| {
        let mut value = text(value);
        for (expression, meaning) in expressions {
            value = value.replace(&format!("${{{{ {expression} }}}}"), meaning);
        }
        assert!(!value.contains("${{"), "an expression that this test does not know: {value}");
        value
    };
    fields.map(|(name, value)| (name.clone(), fill(value))).collect()
}

/// The steps of a job that run `oncesim`.
fn steps<'a>(workflow: &'a Value, job: &str) -> Vec<&'a Value> {
    let steps = workflow["jobs"][job]["steps"].as_array().expect("a job has steps");
    let ours: Vec<&Value> = steps
        .iter()
        .filter(|step| step["run"].as_str().is_some_and(|run| run.contains("oncesim")))
        .collect();
    assert_eq!(ours.len(), 1, "{job} runs oncesim once");
    ours
}

#[test]
fn a_matrix_of_github_actions_is_one_campaign() {
    let workflow = definition("github-actions.yml");
    let matrix = workflow["jobs"]["shard"]["strategy"]["matrix"]["shard"].as_array();
    let matrix = matrix.expect("the matrix has shards");
    let numbers: Vec<u64> = matrix.iter().filter_map(Value::as_u64).collect();
    assert_eq!(numbers, (1..=matrix.len() as u64).collect::<Vec<_>>(), "1 to N, none left out");
    assert_eq!(workflow["jobs"]["merge"]["needs"], "shard");
    let folder = machine();
    let commit = "86e83fd2f4a8f6cdd5bb6f0f3f4ea0a3a9b3c001";
    let small = [("SCENARIOS", SCENARIO), ("SEEDS", SEEDS)];
    let small = small.map(|(name, value)| (name.to_owned(), value.to_owned()));
    // What GitHub runs a step with, if it names no shell.
    let shell = ["bash", "-e", "-c"];
    for shard in 1..=SHARDS {
        let expressions = [
            ("matrix.shard", shard.to_string()),
            ("strategy.job-total", SHARDS.to_string()),
            ("github.sha", commit.to_owned()),
        ];
        for step in steps(&workflow, "shard") {
            let mut variables = env_of(&workflow, &expressions);
            variables.extend(env_of(step, &expressions));
            variables.extend(small.clone());
            let (code, told) = run(&folder, &shell, &text(&step["run"]), &variables);
            assert_eq!(code, 0, "{told}");
        }
    }
    for step in steps(&workflow, "merge") {
        let (code, told) = run(&folder, &shell, &text(&step["run"]), &Variables::new());
        assert_eq!(code, 0, "{told}");
    }
    assert!(folder.path("out.xml").exists());
    assert_eq!(merged(&folder, "results.json"), unsharded(commit));
    // A shard without results is no success.
    let missing = [("SHARD", "1"), ("SHARDS", "0"), ("FROM", "0")];
    let mut variables: Variables = small.into_iter().collect();
    variables.extend(missing.map(|(name, value)| (name.to_owned(), value.to_owned())));
    std::fs::remove_file(folder.path("results-1.json")).expect("it was written");
    let (code, _) = run(&folder, &shell, &text(&steps(&workflow, "shard")[0]["run"]), &variables);
    assert_eq!(code, 2);
}

/// The one container of a Job: its command, and its variables.
fn container(job: &Value) -> (Vec<String>, String, Variables) {
    let spec = &job["spec"]["template"]["spec"];
    let containers = spec["containers"].as_array().expect("a pod has containers");
    let [container] = &containers[..] else { panic!("one container") };
    let command: Vec<String> =
        container["command"].as_array().expect("it has a command").iter().map(text).collect();
    let script = container["args"].as_array().expect("it has a script");
    assert_eq!(script.len(), 1);
    let env = container["env"].as_array().expect("it has variables").iter();
    let env = env.map(|one| (text(&one["name"]), text(&one["value"])));
    (command, text(&script[0]), env.collect())
}

#[test]
fn an_indexed_job_of_kubernetes_is_one_campaign() {
    let job = definition("kubernetes-shards.yaml");
    assert_eq!(job["spec"]["completionMode"], "Indexed");
    let (command, script, mut variables) = container(&job);
    assert_eq!(variables["SHARDS"], job["spec"]["completions"].to_string());
    let shell: Vec<&str> = command.iter().map(String::as_str).collect();
    let folder = machine();
    std::fs::create_dir(folder.path("volume")).expect("writable");
    for (name, value) in [
        ("SHARDS", SHARDS.to_string()),
        ("SEEDS", SEEDS.to_owned()),
        ("SCENARIOS", SCENARIO.to_owned()),
        ("RESULTS", "volume".to_owned()),
    ] {
        variables.insert(name.to_owned(), value).expect("the definition has it");
    }
    // The second pod is started twice.
    for index in [0, 1, 1, 2] {
        variables.insert("JOB_COMPLETION_INDEX".to_owned(), index.to_string());
        let (code, told) = run(&folder, &shell, &script, &variables);
        assert_eq!(code, 0, "{told}");
    }
    let (command, script, mut variables) = container(&definition("kubernetes-merge.yaml"));
    variables.insert("RESULTS".to_owned(), "volume".to_owned()).expect("the definition has it");
    let shell: Vec<&str> = command.iter().map(String::as_str).collect();
    let (code, told) = run(&folder, &shell, &script, &variables);
    assert_eq!(code, 0, "{told}");
    assert!(folder.path("volume/out.xml").exists());
    assert_eq!(merged(&folder, "volume/results.json"), unsharded("0"));
}
