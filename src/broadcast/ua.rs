//! ua
pub struct Nonces;
impl Nonces {
    pub fn new() -> Self {
        Nonces
    }
}
