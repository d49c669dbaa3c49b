//! Files read, copied and kept.
