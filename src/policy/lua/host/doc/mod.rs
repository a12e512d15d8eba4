//! The host API for readers: stubs for editors and the reference page, all written from the table.
