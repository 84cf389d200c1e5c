//! Pages, opened: in a headless Chromium where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::Folder;

const PITFALL: &str =
    "scenarios/corpus/at-least-once/acks-1-loses-when-the-leader-dies-before-replication.toml";
const TRANSACTIONS: &str =
    "scenarios/corpus/transactions/without-group-metadata-a-zombie-processes-twice.toml";

/// The browser, if this machine has one.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROME").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let known = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let installed =
        known.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.into_iter().chain(installed).find(|candidate| candidate.is_file())
}

pub(crate) struct Browser {
    program: PathBuf,
    profile: tempfile::TempDir,
}

impl Browser {
    /// None, and a line that says so, where there is no browser.
    #[expect(clippy::print_stdout, reason = "a test that checks nothing says so")]
    pub(crate) fn find(test: &str) -> Option<Browser> {
        let Some(program) = chromium() else {
            println!("{test}: not checked, because there is no Chromium here (see $CHROME)");
            return None;
        };
        let profile = tempfile::tempdir().expect("a folder can be made");
        Some(Browser { program, profile })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .args(["--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000"])
            .arg(format!("--user-data-dir={}", self.profile.path().display()));
        command
    }

    /// The page as its program has made it; nothing may have been complained about.
    pub(crate) fn open(&self, page: &Path, fragment: &str) -> String {
        let address = format!("file://{}{fragment}", page.display());
        let output = self
            .command()
            .args(["--window-size=1400,1000", "--dump-dom", &address])
            .output()
            .expect("the browser starts");
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> =
            complaints.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{address}: {complaints:?}");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            attribute(&dom, "data-errors"),
            "0",
            "{address}: {}",
            attribute(&dom, "data-error")
        );
        dom
    }

    /// What the page looks like; kept for nobody, but it has to be more than an empty sheet.
    fn photograph(&self, page: &Path, to: &Path, more: &[&str]) -> Vec<u8> {
        let output = self
            .command()
            .args(more)
            .args(["--window-size=1400,1600", &format!("--screenshot={}", to.display())])
            .arg(format!("file://{}", page.display()))
            .output()
            .expect("the browser starts");
        let picture = std::fs::read(to).unwrap_or_default();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(picture.len() > 20_000, "{}: {complaints}", to.display());
        picture
    }
}

/// An attribute of the root element.
pub(crate) fn attribute<'a>(dom: &'a str, name: &str) -> &'a str {
    let head = dom.split_once("<html").and_then(|(_, rest)| rest.split_once('>'));
    let value = head.and_then(|(head, _)| head.split_once(&format!("{name}=\"")));
    value.and_then(|(_, rest)| rest.split_once('"')).map_or("", |(value, _)| value)
}

/// The rows of the diagram that are in sight, as their HTML.
fn rows(dom: &str) -> Vec<&str> {
    let labels = dom.split_once("id=\"labels\"").map_or("", |(_, rest)| rest);
    let labels = labels.split_once("id=\"legend\"").map_or("", |(labels, _)| labels);
    labels.split("<div class=\"row").skip(1).filter(|row| row.contains("data-row")).collect()
}

fn shown(dom: &str) -> u32 {
    attribute(dom, "data-shown").parse().expect("a number of rows")
}

fn page(folder: &Folder, args: &[&str]) -> PathBuf {
    let mut all = args.to_vec();
    all.extend(["--html", "page.html"]);
    let done = folder.oncesim(&all);
    assert!((0..=1).contains(&done.code), "{}{}", done.out, done.err);
    let page = folder.path("page.html");
    page.canonicalize().expect("the page was written")
}

#[test]
fn a_page_opens_without_a_complaint_and_filters() {
    let folder = Folder::new();
    let page = page(&folder, &["run", TRANSACTIONS, "--seed", "1"]);
    let Some(browser) = Browser::find("the page of a run") else { return };
    let dom = browser.open(&page, "");
    assert_eq!(attribute(&dom, "data-ready"), "1");
    let first = shown(&dom);
    let all = shown(&browser.open(&page, "#level=3"));
    assert!(0 < first && first < all / 4, "{first} of {all}: only what matters is drawn first");

    let dom = browser.open(&page, "#level=3&actor=billing-0&step=1200");
    let one = shown(&dom);
    assert!(0 < one && one < all, "{one} of {all}");
    let rows = rows(&dom);
    assert!((10..400).contains(&rows.len()), "{}: what is in sight, and a little more", rows.len());
    for row in &rows {
        let whole = row.contains("billing-0") || row.contains(" fault") || row.contains(" world");
        assert!(whole, "only what concerns billing-0: {row}");
    }
    let chosen = attribute(&dom, "data-row");
    assert!(dom.contains(&format!("id=\"row-{chosen}\"")), "row {chosen} is in sight");

    let dom = browser.open(&page, "#level=3&record=shop%20%237");
    let record = shown(&dom);
    assert!(0 < record && record < one, "{record} of {one}");
    assert!(dom.contains("shop #7"));
    let both = browser.open(&page, "#level=3&partition=orders-1&group=billing&time=305s");
    let some = shown(&both);
    assert!(0 < some && some < all, "{some} of {all}");
    assert!(both.contains("generation") && both.contains("orders-1"), "the state is shown");
    let dom = browser.open(&page, "#level=3&txn=billing-0&time=305s");
    let some = shown(&dom);
    assert!(0 < some && some < all, "{some} of {all}");
    assert!(dom.contains("Transaction coordinators"), "the state is shown");
    // What nobody has is shown by nothing, and breaks nothing.
    assert!(shown(&browser.open(&page, "#level=3&record=nobody&row=99999999")) < 40);
}

#[test]
fn a_page_is_photographed_in_light_in_dark_and_on_paper() {
    let folder = Folder::new();
    let page = page(&folder, &["run", PITFALL, "--seed", "3"]);
    let Some(browser) = Browser::find("the looks of a page") else { return };
    let light = browser.photograph(&page, &folder.path("light.png"), &[]);
    let dark = browser.photograph(
        &page,
        &folder.path("dark.png"),
        &["--blink-settings=preferredColorScheme=0"],
    );
    assert_ne!(light, dark, "dark is another picture");
    let paper = folder.path("paper.pdf");
    let printed = browser
        .command()
        .args([
            &format!("--print-to-pdf={}", paper.display()),
            &format!("file://{}", page.display()),
        ])
        .output()
        .expect("the browser starts");
    let size = std::fs::metadata(&paper).map_or(0, |it| it.len());
    assert!(size > 20_000, "{size} bytes: {}", String::from_utf8_lossy(&printed.stderr));
}

#[test]
fn names_that_look_like_markup_are_text() {
    let folder = Folder::new();
    let source = std::fs::read_to_string(folder.path(PITFALL)).expect("it is there");
    let title = "title = \"</script><script>throw 1</script> <b>'&quot;\"";
    let hostile: String = source
        .lines()
        .map(|line| if line.starts_with("title") { title } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    folder.write("hostile.toml", &hostile);
    let page = page(&folder, &["run", "hostile.toml", "--seed", "3"]);
    let html = std::fs::read_to_string(&page).expect("it was written");
    assert_eq!(html.matches("<script").count(), 2, "the data and the program, nothing else");
    let Some(browser) = Browser::find("hostile names") else { return };
    let dom = browser.open(&page, "#level=3");
    assert!(dom.contains("&lt;/script&gt;&lt;script&gt;throw 1"), "the title is shown as it is");
}

#[test]
fn a_campaign_has_a_page_and_one_for_each_failure() {
    let folder = Folder::new();
    let args = ["fuzz", PITFALL, "--seeds", "20", "--jobs", "1", "--html", "campaign.html"];
    let done = folder.oncesim(&args);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let html = std::fs::read_to_string(folder.path("campaign.html")).expect("it was written");
    let link = html.split_once("<a href=\"campaign-").map_or("", |(_, rest)| rest);
    let link = link.split_once('"').map_or("", |(link, _)| link);
    let run = folder.path(&format!("campaign-{link}"));
    assert!(run.is_file(), "{} is linked", run.display());
    let Some(browser) = Browser::find("the page of a campaign") else { return };
    browser.photograph(&folder.path("campaign.html"), &folder.path("campaign.png"), &[]);
    assert_eq!(attribute(&browser.open(&run, ""), "data-ready"), "1");
}

#[test]
fn a_page_is_the_same_every_time() {
    let folder = Folder::new();
    let args = ["run", PITFALL, "--seed", "3"];
    let first = std::fs::read(page(&folder, &args)).expect("a page");
    let second = std::fs::read(page(&folder, &args)).expect("a page");
    assert!(first == second, "a page is a function of its run");
}

#[test]
fn a_place_that_takes_no_file_is_refused_before_anything_runs() {
    let folder = Folder::new();
    for args in [["run", PITFALL], ["replay", PITFALL], ["explain", PITFALL]] {
        for place in ["nowhere/page.html", "."] {
            let done = folder.oncesim(&[args[0], args[1], "--seed", "3", "--html", place]);
            assert_eq!(done.code, 2, "{}{}", done.out, done.err);
            assert!(done.out.is_empty(), "{}", done.out);
            assert!(done.err.contains("--html"), "{}", done.err);
        }
    }
}
