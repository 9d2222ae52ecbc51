//! The proxy in front of the database: each request passes through the faults and the journal. Knows no operation.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::faults::{Cut, Faults, PAGE, PAGE_TYPE, Served, serve};
use crate::http::accept::{REQUEST_MAX, accept, operation, signer};
use crate::journal::{Call, Journal};
use crate::model::ErrorKind;

/// The running front of a backend.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
}

/// The state that all connections share.
struct Serving {
    front: Front,
    database: Database,
}

/// The client of the database's own server.
#[derive(Clone)]
struct Database {
    client: Client<HttpConnector, Full<Bytes>>,
    authority: Authority,
}

/// The part of a request that names its table.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "TableName")]
    table: Option<String>,
}

impl Front {
    /// Serves until it is dropped. `database` is the address that requests are forwarded to.
    pub(crate) async fn serve(self, listener: tokio::net::TcpListener, database: SocketAddr) -> Infallible {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let authority = database.to_string().parse().expect("an address is an authority");
        let serving = Arc::new(Serving { front: self, database: Database { client, authority } });
        accept(listener, service_fn(move |request| handle(Arc::clone(&serving), request))).await
    }
}

async fn handle(serving: Arc<Serving>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    let (head, incoming) = request.into_parts();
    let body = Limited::new(incoming, REQUEST_MAX).collect().await.map_err(|_| Cut)?.to_bytes();
    let operation = operation(&head.headers);
    let Serving { front: Front { faults, journal }, database } = &*serving;
    if faults.is_empty() && !journal.wants(operation) {
        return database.clone().carry_out(head, body).await;
    }
    let (caller, region) = signer(&head.headers);
    let call = Call {
        caller: caller.to_owned(),
        region: region.to_owned(),
        operation: operation.to_owned(),
        resource: serde_json::from_slice(&body).ok().and_then(|Named { table }| table),
        shard: None,
        body: body.clone(),
    };
    let succeeded = |reply: &Response<Full<Bytes>>| reply.status().is_success();
    Ok(match serve(faults, journal, call, succeeded, database.clone().carry_out(head, body)).await? {
        Served::Refused(kind) => refuse(kind),
        Served::Page(status) => page(status),
        Served::Done { reply, .. } => reply,
    })
}

impl Database {
    async fn carry_out(self, mut head: Parts, body: Bytes) -> Result<Response<Full<Bytes>>, Cut> {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let to = Uri::builder().scheme(Scheme::HTTP).authority(self.authority).path_and_query(path).build();
        head.uri = to.map_err(|_| Cut)?;
        head.version = Version::HTTP_11;
        let reply = self.client.request(Request::from_parts(head, Full::new(body))).await;
        let reply =
            reply.inspect_err(|error| tracing::warn!(%error, "the database does not answer")).map_err(|_| Cut)?;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

fn page(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(PAGE));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PAGE_TYPE));
    response
}

fn refuse(kind: ErrorKind) -> Response<Full<Bytes>> {
    let code = match kind {
        ErrorKind::InternalFailure => "InternalServerError",
        kind => kind.code(),
    };
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"injected fault"}}"#);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}
