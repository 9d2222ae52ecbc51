//! What decoding one GetRecords answer costs: 10,000 records of 100 bytes, CBOR borrowed against the SDK's JSON.

fn main() {}
