//! Several nodes on one store, and a store that goes back.
