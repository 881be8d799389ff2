//! The WebSocket wire (RFC 6455).
