//! The built binary: run to its end, or served until dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::harness::resolver::{Files, config_path, metric_sum, replace, write_files};
use crate::harness::{PATIENCE, wait_for};

/// A served process. Killed when dropped.
pub struct Served {
    child: Child,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    pub admin: SocketAddr,
    /// What it said at start, up to the lines to try.
    pub banner: String,
    pub directory: TempDir,
    /// What it logs, beside the configuration's directory so that the watch does not see it.
    log: NamedTempFile,
    state: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, with nothing of the caller's environment that changes what it says.
pub fn lachan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lachan"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["LACHAN_CONFIG", "NOTIFY_SOCKET", "RUST_LOG", "LANG", "LC_ALL", "LC_MESSAGES"] {
        command.env_remove(variable);
    }
    // Never this machine's own; nobody can write there.
    command.env("STATE_DIRECTORY", "/proc/lachan");
    command
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Ran {
    ran(&mut lachan(arguments))
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("programs print UTF-8");
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Addresses of both families on free ports, an admin listener on another, and this upstream.
pub fn with_upstream(config: &str, upstream: SocketAddr) -> String {
    let listen = "[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nadmin = \"127.0.0.1:0\"\n";
    format!("{config}\n{listen}\n[[upstream]]\nservers = [\"{upstream}\"]\n")
}

impl Served {
    pub fn start(files: &Files<'_>) -> Served {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), files);
        Served::start_in(directory)
    }

    /// Starts with the configuration that the directory holds.
    pub fn start_in(directory: TempDir) -> Served {
        Served::start_with(directory, &[])
    }

    /// Starts so, with more on the command line.
    pub fn start_with(directory: TempDir, more: &[&str]) -> Served {
        let config = config_path(directory.path());
        let log = NamedTempFile::new().unwrap();
        let mut command = lachan(&[&["serve", "-c", config.to_str().unwrap()], more].concat());
        let state = tempfile::tempdir().unwrap();
        command.env("STATE_DIRECTORY", state.path());
        let mut child = command.stdout(Stdio::piped()).stderr(log.reopen().unwrap()).spawn().unwrap();
        let banner = read_banner(&mut child, log.path());
        let words = || banner.split(|c: char| c.is_whitespace() || c == ',');
        let find = |is: fn(&SocketAddr) -> bool| {
            words().filter_map(|word| word.parse().ok()).find(is).unwrap_or_else(|| panic!("no address: {banner}"))
        };
        let admin = words()
            .find_map(|word| word.strip_prefix("http://")?.strip_suffix("/metrics")?.parse().ok())
            .unwrap_or_else(|| panic!("no admin listener: {banner}"));
        Served {
            v4: find(SocketAddr::is_ipv4),
            v6: find(SocketAddr::is_ipv6),
            admin,
            banner,
            child,
            directory,
            log,
            state,
        }
    }

    pub fn config(&self) -> String {
        config_path(self.directory.path()).to_str().unwrap().to_owned()
    }

    /// Where it keeps state, unless its configuration says otherwise.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    pub fn write(&self, file: &str, text: &str) {
        replace(&self.directory.path().join(file), text);
    }

    /// Runs a command against this process.
    pub fn command(&self, arguments: &[&str]) -> Ran {
        let admin = self.admin.to_string();
        run(&[arguments, &["--admin", &admin]].concat())
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status")).unwrap()
    }

    /// The body of a page of the admin listener.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (_, body) = response.split_once("\r\n\r\n").expect("a response has a head and a body");
        body.to_owned()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(told.success(), "kill {signal} {pid}");
    }

    /// Tells it to read everything again and waits until it has, with this result: what it says about it.
    ///
    /// The watch over the files may reload beside us, with what it read before the last change; ours comes after it.
    pub fn reload(&self, result: &str) -> Value {
        let count = || self.metric_sum("lachan_reload_total");
        let before = count();
        self.signal("-HUP");
        wait_for(&format!("a reload that is {result}"), || {
            if count() == before {
                return None;
            }
            Some(self.status()["last_reload"].clone()).filter(|reload| reload["result"] == result)
        })
    }

    /// The sum over a metric's series.
    pub fn metric_sum(&self, name: &str) -> u64 {
        metric_sum(&self.get("/metrics"), name)
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ends it as a power cut would, and gives the directory back.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything up to "Try:", or why it did not start.
fn read_banner(child: &mut Child, log: &Path) -> String {
    let stdout = child.stdout.take().expect("stdout is piped");
    let (lines, banner) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The reader goes on when nobody wants the lines any more, so that the process never meets a full pipe.
            let _ = lines.send(line);
        }
    });
    let mut text = String::new();
    loop {
        match banner.recv_timeout(PATIENCE) {
            Ok(line) if line.starts_with("Try:") => break,
            Ok(line) => text = text + &line + "\n",
            Err(_) => {
                let _ = child.kill();
                panic!("it did not start: {text}{}", std::fs::read_to_string(log).unwrap());
            }
        }
    }
    text
}
