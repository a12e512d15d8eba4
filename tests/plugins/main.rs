//! Plugins as an operator and an author meet them: folders on disk, loaded, asked, refused with file and line.

mod capabilities;
mod containment;
mod manifests;
mod order;
mod settings;
mod shipped;
mod world;
