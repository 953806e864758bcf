//! The way to the upstream: its address, the HTTP client, and which headers go along.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use auditlite::WireProtocol;
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, Request, Response, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Error};
use hyper_util::rt::TokioExecutor;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A provider's server.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    scheme: Scheme,
    authority: Authority,
    /// What stands before `/v1`, without a slash at its end.
    prefix: String,
    /// Its name in the trail; `None`: by the protocol that it is spoken to in.
    pub(crate) provider_name: Option<String>,
}

impl Upstream {
    /// Its name in the trail.
    pub(crate) fn provider_name(&self, protocol: &WireProtocol) -> &str {
        match (&self.provider_name, protocol) {
            (Some(name), _) => name,
            (None, WireProtocol::AnthropicMessages) => "anthropic",
            (None, WireProtocol::GeminiGenerate) => "gcp.gemini",
            (None, _) => "openai",
        }
    }

    /// The address of a request with this path and query.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, axum::http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path_and_query}", self.prefix))
            .build()
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{error}; give a URL such as http://127.0.0.1:11434"))?;
        let scheme = uri
            .scheme()
            .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))
            .ok_or("it must start with http:// or https://")?;
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it must not carry credentials; clients send their own".to_owned());
        }
        if uri.query().is_some() {
            return Err("it must not have a query".to_owned());
        }
        // People copy base URLs with the `/v1` that clients want.
        let path = uri.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/v1").unwrap_or(path);
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            prefix: prefix.to_owned(),
            provider_name: Some(provider_name(authority.host()).to_owned()),
        })
    }
}

/// The provider's name as OpenTelemetry spells it, else the host's.
fn provider_name(host: &str) -> &str {
    match host {
        "api.openai.com" => "openai",
        "api.anthropic.com" => "anthropic",
        "api.deepseek.com" => "deepseek",
        "api.groq.com" => "groq",
        "api.mistral.ai" => "mistral_ai",
        "generativelanguage.googleapis.com" => "gcp.gemini",
        other => other,
    }
}

type Legacy<C> = legacy::Client<C, Full<Bytes>>;

/// An HTTP/1.1 client with a connection pool.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// For `http:` only; needs no certificates.
    Plain(Legacy<HttpConnector>),
    /// For `https:`.
    Tls(Legacy<HttpsConnector<HttpConnector>>),
}

impl Client {
    /// A client for plain HTTP.
    pub(crate) fn plain() -> Self {
        Self::Plain(builder().build(connector()))
    }

    /// A client that can reach this upstream.
    pub(crate) fn for_upstream(upstream: &Upstream) -> io::Result<Self> {
        if upstream.scheme == Scheme::HTTP {
            return Ok(Self::plain());
        }
        let mut http = connector();
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self::Tls(builder().build(https)))
    }

    /// Sends a request; the answer's body is read as it comes.
    pub(crate) async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        }
    }
}

fn builder() -> legacy::Builder {
    legacy::Client::builder(TokioExecutor::new())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector
}

/// Headers that hold for one connection only (RFC 9110, section 7.6.1), with the two non-standard
/// ones that are still seen.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request's headers for the upstream. The client sets `host` and `content-length` again, this
/// server has answered `expect`, and without `accept-encoding` the recorded bodies are plain.
pub(crate) fn headers_up(mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::ACCEPT_ENCODING,
    ] {
        headers.remove(name);
    }
    headers
}

/// A response's headers for the way down.
pub(crate) fn headers_down(mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    headers
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
