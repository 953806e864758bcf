//! JSON Lines through `tracing-appender`'s non-blocking writer: the line is put together on the
//! request's thread, written by a thread of the appender's, and never synced. Bodies that are JSON
//! are copied into it as they are. The appender does not drop lines here, and holds as many as the
//! bounded JSON log holds rows: at its default of 128,000 the memory would be a matter of the run's
//! length.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::super::gateway::Lifecycle;
use super::Subject;

const LINES_MAX: usize = 4096;
const ZSTD_LEVEL: i32 = 3;

pub(crate) struct JsonLines {
    appender: NonBlocking,
    guard: Option<WorkerGuard>,
    sink: Arc<Sink>,
    sent: AtomicU64,
    path: PathBuf,
}

/// Where the appender's thread writes to. Its guard gives up waiting after a second, so whether
/// everything is written is counted here.
struct Sink {
    output: Mutex<Option<Output>>,
    written: AtomicU64,
}

enum Output {
    Plain(BufWriter<File>),
    Zstd(Box<zstd::stream::write::Encoder<'static, File>>),
}

struct SinkWriter(Arc<Sink>);

#[derive(Serialize)]
struct Metadata<'l> {
    timestamp: String,
    request_id: &'l str,
    status: &'static str,
    provider: Option<&'l str>,
    model: Option<&'l str>,
    user_id: Option<&'l str>,
    conversation_id: Option<&'l str>,
    latency_us: u64,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    http_status: Option<u16>,
    finish_reasons: &'l [String],
}

impl JsonLines {
    pub(crate) fn open(folder: &Path, is_compressed: bool) -> Self {
        let path = folder.join("requests.jsonl");
        let file = File::create(&path).unwrap();
        let output = if is_compressed {
            let encoder = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL).unwrap();
            Output::Zstd(Box::new(encoder))
        } else {
            Output::Plain(BufWriter::new(file))
        };
        let sink = Arc::new(Sink {
            output: Mutex::new(Some(output)),
            written: AtomicU64::new(0),
        });
        let (appender, guard) = NonBlockingBuilder::default()
            .lossy(false)
            .buffered_lines_limit(LINES_MAX)
            .finish(SinkWriter(Arc::clone(&sink)));
        Self {
            appender,
            guard: Some(guard),
            sink,
            sent: AtomicU64::new(0),
            path,
        }
    }
}

impl Subject for JsonLines {
    fn record(&self, lifecycle: Lifecycle) -> bool {
        let line = line(&lifecycle);
        self.appender.clone().write_all(&line).unwrap();
        self.sent.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn flush(&mut self) {
        while self.sink.written.load(Ordering::Acquire) < *self.sent.get_mut() {
            std::thread::sleep(Duration::from_micros(200));
        }
        match self.sink.output.lock().unwrap().take() {
            Some(Output::Plain(mut file)) => file.flush().unwrap(),
            Some(Output::Zstd(encoder)) => encoder.finish().unwrap().flush().unwrap(),
            None => {}
        }
        self.guard = None;
    }

    fn close(self: Box<Self>) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }
}

fn line(lifecycle: &Lifecycle) -> Vec<u8> {
    let (context, usage) = (&lifecycle.context, lifecycle.usage());
    let metadata = Metadata {
        timestamp: jiff::Timestamp::now().to_string(),
        request_id: &lifecycle.request_id,
        status: "completed",
        provider: context.provider_name.as_deref(),
        model: context.request_model.as_deref(),
        user_id: context.user_id.as_deref(),
        conversation_id: context.conversation_id.as_deref(),
        latency_us: lifecycle.latency_us(),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cache_read_input_tokens,
        http_status: lifecycle.completion.http_status,
        finish_reasons: &lifecycle.completion.finish_reasons,
    };
    let mut line = Vec::with_capacity(lifecycle.body_bytes() + 1024);
    serde_json::to_writer(&mut line, &metadata).unwrap();
    line.pop(); // The object goes on.
    line.extend_from_slice(br#","request":"#);
    body(&mut line, &lifecycle.request, lifecycle.request_is_json);
    line.extend_from_slice(br#","response":"#);
    body(&mut line, lifecycle.response(), lifecycle.response_is_json);
    line.extend_from_slice(b"}\n");
    line
}

fn body(line: &mut Vec<u8>, body: &[u8], is_json: bool) {
    if is_json {
        line.extend_from_slice(body);
    } else {
        serde_json::to_writer(line, &String::from_utf8_lossy(body)).unwrap();
    }
}

impl Write for SinkWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    /// The appender writes each line with one call.
    fn write_all(&mut self, line: &[u8]) -> std::io::Result<()> {
        match &mut *self.0.output.lock().unwrap() {
            Some(Output::Plain(file)) => file.write_all(line)?,
            Some(Output::Zstd(encoder)) => encoder.write_all(line)?,
            None => {}
        }
        self.0.written.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut *self.0.output.lock().unwrap() {
            Some(Output::Plain(file)) => file.flush(),
            Some(Output::Zstd(encoder)) => encoder.flush(),
            None => Ok(()),
        }
    }
}
