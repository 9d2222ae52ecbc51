//! GetRecords in CBOR through the SDK: a wire protocol for its client that uses JSON, as the generated Kinesis client does,
//! except for calls with an [`Exchange`]. Signing, retries, time-outs and endpoints stay with the SDK; the caller receives
//! the unchanged body of the response.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_json::codec::{JsonCodec, JsonCodecSettings};
use aws_smithy_json::protocol::aws_json_rpc::AwsJsonRpcProtocol;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::http::{Request, Response};
use aws_smithy_schema::codec::{Codec, DynCodec};
use aws_smithy_schema::error_envelope::sanitize_error_code;
use aws_smithy_schema::protocol::ClientProtocolInner;
use aws_smithy_schema::serde::{SerdeError, SerializableStruct, ShapeDeserializer};
use aws_smithy_schema::{Schema, ShapeId};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::endpoint::Endpoint;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::Builder as ErrorMetadataBuilder;

use super::decode::{decode_error, looks_like_cbor};

const CONTENT_TYPE: &str = "application/x-amz-cbor-1.1";

/// Replaces a response whose members the SDK must not decode: an empty one.
const NO_MEMBERS: &[u8] = b"{}";

/// One call whose bodies the caller encodes and decodes itself. Passed to the call as an interceptor.
#[derive(Clone, Debug)]
pub(super) struct Exchange(Arc<Bodies>);

#[derive(Debug)]
struct Bodies {
    /// The request in CBOR; `None`: the SDK writes its JSON.
    request: Option<Vec<u8>>,
    response: Mutex<Option<SdkBody>>,
}

impl Exchange {
    pub(super) fn new(request: Option<Vec<u8>>) -> Self {
        Self(Arc::new(Bodies { request, response: Mutex::new(None) }))
    }

    /// The body of the successful response.
    pub(super) fn response(&self) -> Option<SdkBody> {
        self.0.response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, response: &Response) {
        // The body is in memory by now, so a clone shares it.
        *self.0.response.lock().unwrap_or_else(PoisonError::into_inner) = response.body().try_clone();
    }
}

impl Storable for Exchange {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Exchange {
    fn name(&self) -> &'static str {
        "Exchange"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(self.clone());
        Ok(())
    }
}

/// The client's protocol.
#[derive(Debug)]
pub(super) struct KinesisProtocol {
    json: AwsJsonRpcProtocol,
    no_members: JsonCodec,
}

impl KinesisProtocol {
    pub(super) fn new() -> Self {
        Self {
            json: AwsJsonRpcProtocol::aws_json_1_1(),
            no_members: JsonCodec::new(JsonCodecSettings::builder().build()),
        }
    }

    fn no_members(&self) -> Box<dyn ShapeDeserializer> {
        Box::new(Codec::create_deserializer(&self.no_members, NO_MEMBERS))
    }
}

fn is_cbor(response: &Response) -> bool {
    response.body().bytes().is_some_and(looks_like_cbor)
}

impl ClientProtocolInner for KinesisProtocol {
    type Request = Request;
    type Response = Response;

    fn protocol_id(&self) -> &ShapeId<'static> {
        ClientProtocolInner::protocol_id(&self.json)
    }

    fn serialize_request(
        &self,
        input: &dyn SerializableStruct,
        input_schema: &Schema<'_>,
        endpoint: &str,
        cfg: &ConfigBag,
    ) -> Result<Request, SerdeError> {
        let mut request = ClientProtocolInner::serialize_request(&self.json, input, input_schema, endpoint, cfg)?;
        if let Some(body) = cfg.load::<Exchange>().and_then(|exchange| exchange.0.request.as_ref()) {
            let headers = request.headers_mut();
            headers.insert("content-type", CONTENT_TYPE);
            headers.insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body.clone());
        }
        Ok(request)
    }

    fn deserialize_response<'a>(
        &self,
        response: &'a Response,
        output_schema: &Schema<'_>,
        cfg: &'a ConfigBag,
    ) -> Result<Box<dyn ShapeDeserializer + 'a>, SerdeError> {
        if let Some(exchange) = cfg.load::<Exchange>() {
            exchange.keep(response);
        }
        match is_cbor(response) {
            true => Ok(self.no_members()),
            false => ClientProtocolInner::deserialize_response(&self.json, response, output_schema, cfg),
        }
    }

    fn parse_error_metadata(&self, response: &Response, cfg: &ConfigBag) -> Result<ErrorMetadataBuilder, SerdeError> {
        if !is_cbor(response) {
            return ClientProtocolInner::parse_error_metadata(&self.json, response, cfg);
        }
        let body = response.body().bytes().unwrap_or_default();
        let (code, message) = decode_error(body).map_err(|e| SerdeError::custom(e.to_string()))?;
        let mut metadata = ErrorMetadata::builder();
        if let Some(code) = code {
            metadata = metadata.code(sanitize_error_code(&code));
        }
        if let Some(message) = message {
            metadata = metadata.message(message);
        }
        Ok(metadata)
    }

    /// An error consists of code and message only, which its metadata already has.
    fn deserialize_error_response<'a>(
        &self,
        response: &'a Response,
        cfg: &'a ConfigBag,
    ) -> Result<Box<dyn ShapeDeserializer + 'a>, SerdeError> {
        match is_cbor(response) {
            true => Ok(self.no_members()),
            false => ClientProtocolInner::deserialize_error_response(&self.json, response, cfg),
        }
    }

    fn update_endpoint(&self, request: &mut Request, endpoint: &Endpoint, cfg: &ConfigBag) -> Result<(), SerdeError> {
        ClientProtocolInner::update_endpoint(&self.json, request, endpoint, cfg)
    }

    fn payload_codec(&self) -> Option<&dyn DynCodec> {
        ClientProtocolInner::payload_codec(&self.json)
    }

    fn event_stream_media_type(&self) -> Option<&str> {
        ClientProtocolInner::event_stream_media_type(&self.json)
    }

    fn parse_event_stream_error_metadata(&self, payload: &[u8]) -> Result<ErrorMetadataBuilder, SerdeError> {
        ClientProtocolInner::parse_event_stream_error_metadata(&self.json, payload)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition, SubscribeToShardEventStream as Events};
    use aws_sdk_kinesis::{Client, Config};
    use shardmill_local::{LocalBackend, Options};

    use super::*;

    /// Event streams use more of the protocol than other calls.
    #[tokio::test]
    async fn a_subscription_works_through_the_protocol() {
        let backend = LocalBackend::start(Options::default()).unwrap();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(backend.kinesis_endpoint())
            .protocol(KinesisProtocol::new());
        let client = Client::from_conf(config.build());
        client.create_stream().stream_name("s").shard_count(1).send().await.unwrap();
        let summary = loop {
            let answer = client.describe_stream_summary().stream_name("s").send().await.unwrap();
            let summary = answer.stream_description_summary.unwrap();
            if summary.stream_status.as_str() == "ACTIVE" {
                break summary;
            }
        };
        backend.kinesis().put_record("s", "k", b"hello").unwrap();
        let register = client.register_stream_consumer().stream_arn(summary.stream_arn).consumer_name("c");
        let arn = register.send().await.unwrap().consumer.unwrap().consumer_arn;
        while {
            let answer = client.describe_stream_consumer().consumer_arn(&arn).send().await.unwrap();
            answer.consumer_description.unwrap().consumer_status.as_str() != "ACTIVE"
        } {}

        let from = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build().unwrap();
        let subscribe = client.subscribe_to_shard().consumer_arn(arn).shard_id("shardId-000000000000");
        let mut subscription = subscribe.starting_position(from).send().await.unwrap();
        let records = loop {
            match subscription.event_stream.recv().await.unwrap() {
                Some(Events::SubscribeToShardEvent(event)) if !event.records.is_empty() => break event.records,
                Some(_) => {}
                None => panic!("the subscription ended without a record"),
            }
        };
        assert_eq!(records[0].data.as_ref(), b"hello");
    }
}
