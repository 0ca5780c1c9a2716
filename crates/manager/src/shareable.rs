//! A list of fixed length whose elements may be of different simple types, as Python's `ShareableList`.

use std::fmt;

use ginnel_object::{Manager, Result};
use serde::{Deserialize, Serialize};

use crate::list::List;

/// An element of a [`ShareableList`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Item {
    /// Nothing; Python's `None`.
    #[default]
    None,
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What becomes an item by itself, one line each.
macro_rules! items {
    ($($from:ty => $variant:ident),+) => {
        $(impl From<$from> for Item {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

items!(i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Int, u16 => Int, u32 => Int, f32 => Float, f64 => Float,
    bool => Bool, &str => Str, String => Str, &[u8] => Bytes, Vec<u8> => Bytes);

impl From<()> for Item {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl<T: Into<Self>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// A list in shared memory whose length never changes. Its elements are replaced by others, of any type and size.
///
/// ```
/// use ginnel_manager::ShareableList;
/// use ginnel_manager::shareable::Item;
///
/// let row = ShareableList::new(["glue".into(), 3.into(), 0.5.into(), Item::None])?;
/// row.set(1, 4)?;
/// assert_eq!(row.get(1)?, Some(Item::Int(4)));
/// assert!(row.set(4, true).is_err()); // there is no fifth place
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// Each operation happens at one moment, also where its process is killed in it; reading takes no lock. The rest is as with
/// a [`List`], which it is inside.
#[derive(Clone, Serialize, Deserialize)]
pub struct ShareableList {
    list: List<Item>,
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShareableList").field(&self.list).finish()
    }
}

impl ShareableList {
    /// A list of these items, in the manager of this process.
    ///
    /// # Errors
    /// `Full` when the manager has no room for it; `Forked`, `Os`.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Result<Self> {
        Ok(Self { list: List::from_iter(items)? })
    }

    /// The list of that name in a manager; if there is none, or nobody has filled it yet, of these items. Of several who
    /// come at a time, one fills it.
    ///
    /// # Errors
    /// `Mismatch` when the name is that of something else; else as [`ShareableList::new`].
    pub fn open_or_create(
        manager: &Manager,
        name: &str,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Self> {
        let list: List<Item> = manager.get_or_create(name)?;
        list.fill(items)?;
        Ok(Self { list })
    }

    /// The list of that name in a manager. `None`: there is none.
    ///
    /// # Errors
    /// `Mismatch` when the name is that of something else.
    pub fn open(manager: &Manager, name: &str) -> Result<Option<Self>> {
        Ok(manager.get(name)?.map(|list| Self { list }))
    }

    /// The item at a place. `None`: the list is not that long.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn get(&self, index: usize) -> Result<Option<Item>> {
        self.list.get(index)
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    /// As [`List::set`].
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<()> {
        self.list.set(index, item.into())
    }

    /// Where the first item is that equals this one. `None`: there is none.
    ///
    /// # Errors
    /// As [`List::index`].
    pub fn index(&self, item: impl Into<Item>) -> Result<Option<usize>> {
        self.list.index(&item.into())
    }

    /// How many items equal this one.
    ///
    /// # Errors
    /// As [`List::count`].
    pub fn count(&self, item: impl Into<Item>) -> Result<usize> {
        self.list.count(&item.into())
    }

    /// Its items, in order; see [`List::iter`].
    pub fn iter(&self) -> impl Iterator<Item = Result<Item>> + '_ {
        self.list.iter()
    }

    /// Its items, as they were at one moment.
    ///
    /// # Errors
    /// As [`List::to_vec`].
    pub fn to_vec(&self) -> Result<Vec<Item>> {
        self.list.to_vec()
    }

    /// How many items it has, always.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Has it no items?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
