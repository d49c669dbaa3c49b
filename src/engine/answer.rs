//! RRsets of an upstream's answer: owner names, CNAME/DNAME/SVCB targets, addresses (A, AAAA, SVCB hints), TTLs.
//!
//! An [`Answer`] is what upstream said and nothing else (I3): decompressed once, kept in one buffer, read by policy, cache
//! and reply. Additional OPT becomes the `ede` list; every other record is kept as octets.
