//! The example gateway with redaction, in front of an upstream that repeats secrets: none is in the trail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::gateway;
use crate::support::Sandbox;

/// Made up, in the forms that providers give their keys.
const KEYS: [&str; 12] = [
    "sk-proj-NotAKeyNotAKeyNotAKeyNotAKeyNotAKey00",
    "sk-ant-api03-NotAKeyNotAKey-NotAKey_NotAKey00AA",
    "sk-or-v1-00000000000000000000000000000000notakey0",
    "AIzaNotAKeyNotAKeyNotAKeyNotAKeyNotAKey",
    "AKIANOTAKEYNOTAKEY00",
    "ABSKNotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKey0=",
    "gsk_NotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKey000000",
    "xai-NotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKey000000",
    "hf_NotAKeyNotAKeyNotAKeyNotAKeyNotAKey",
    "pplx-NotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKey",
    "nvapi-NotAKeyNotAKeyNotAKeyNotAKeyNotAKey-NotAKey_00",
    "csk-NotAKeyNotAKeyNotAKeyNotAKeyNotAKeyNotAKey00",
];

/// Answers each request with an error that repeats its key, in JSON or (every other one) in a stream.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut key = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(": ")
                    && name == "content-length"
                {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            key.push_str(body["messages"][0]["content"].as_str().unwrap());
            let error = serde_json::json!({"error": {"type": "invalid_request_error",
                "code": "invalid_api_key", "message": format!("Incorrect API key provided: {key}. Bye.")}});
            let (kind, status, answer) = match number % 2 {
                0 => ("application/json", "401 Unauthorized", error.to_string()),
                _ => ("text/event-stream", "200 OK", format!("data: {error}\n\n")),
            };
            let _ = write!(
                stream.get_mut(),
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    address
}

struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(sandbox: &Sandbox, upstream: &str, options: &[&str]) -> Self {
        let mut child = Command::new(gateway::program())
            .args(["--listen", "127.0.0.1:0", "--upstream"])
            .arg(format!("http://{upstream}"))
            .arg("--db")
            .arg(sandbox.path("audit.db"))
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("listening on http://").map(str::to_owned)
        });
        // Read to its end, so that the gateway can go on printing.
        std::thread::spawn(move || lines.count());
        Self {
            child,
            address: address.unwrap(),
        }
    }

    /// Sends a question with a key in it and in the header, and gives the answer.
    fn ask(&self, key: &str) -> String {
        let body =
            serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content": key}]});
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client and the upstream see each other's bytes as they are; the trail has no key.
#[test]
fn the_gateway_records_no_key_that_an_upstream_repeats() {
    let upstream = upstream();
    for redacts in [true, false] {
        let sandbox = Sandbox::new();
        let options: &[&str] = if redacts { &[] } else { &["--no-redaction"] };
        let gateway = Gateway::start(&sandbox, &upstream, options);
        for key in KEYS {
            let answer = gateway.ask(key);
            assert!(
                answer.contains(&format!("provided: {key}. Bye.")),
                "{answer}"
            );
        }
        gateway.stop();
        let exported = sandbox.run(&["export", "--content", "full"]);
        let records = exported.json();
        assert_eq!(records.len(), KEYS.len());
        let log = sandbox.run(&["bundle"]);
        for (record, key) in records.iter().zip(KEYS) {
            let message = record["error_message"].as_str().unwrap();
            let shown = if redacts { "[redacted]" } else { key };
            assert_eq!(
                message,
                format!("Incorrect API key provided: {shown}. Bye.")
            );
            for side in ["request", "response"] {
                let text = record[side]["text"].as_str().unwrap();
                assert_eq!(text.contains(key), !redacts, "{text}");
            }
            assert_eq!(log.text().contains(key), !redacts);
        }
        assert_eq!(exported.text().contains("otAKey"), !redacts);
        assert_eq!(sandbox.run(&["verify"]).exit, 0);
    }
}
