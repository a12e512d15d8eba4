//! Changes to the header fields of a message (RFC 3261 §7.3).

/// One change that a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// All fields of that name give way to this one.
    Set { name: String, value: String },
    /// One more field of that name.
    Add { name: String, value: String },
    /// All fields of that name go.
    Remove { name: String },
}
