//! The macros that declare messages and enumerations together with their codec, so that the two directions
//! cannot disagree.

/// Declares an enum of messages. Each variant has a number on the wire and named fields that are
/// [`Wire`](crate::codec::Wire). A message is: `id: u64`, `number: u16`, the fields in order.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        pub enum $name:ident $(<$life:lifetime>)? {
            $(
                $(#[$variant_meta:meta])*
                $variant:ident = $number:literal {
                    $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
                },
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name $(<$life>)? {
            $(
                $(#[$variant_meta])*
                $variant {
                    $( $(#[$field_meta])* $field: $type, )*
                },
            )*
        }

        impl<'a> $name $(<$life>)? {
            /// The message's bytes, numbered `id`. Fails when they exceed
            /// [`MAX_MESSAGE`](crate::limits::MAX_MESSAGE).
            pub fn encode(&self, id: u64) -> Result<Vec<u8>, $crate::codec::EncodeError> {
                let mut writer = $crate::codec::Writer::new();
                id.encode(&mut writer);
                match self {
                    $(
                        Self::$variant { $($field,)* } => {
                            let number: u16 = $number;
                            number.encode(&mut writer);
                            $( $field.encode(&mut writer); )*
                        }
                    )*
                }
                writer.finish()
            }

            /// The number and the message that `bytes` hold, or why they hold none.
            pub fn decode(bytes: &'a [u8]) -> Result<(u64, Self), $crate::codec::DecodeError> {
                let mut reader = $crate::codec::Reader::new(bytes)?;
                let id = u64::decode(&mut reader)?;
                let message = match u16::decode(&mut reader)? {
                    $(
                        $number => Self::$variant {
                            $( $field: <$type as $crate::codec::Wire<'a>>::decode(&mut reader)?, )*
                        },
                    )*
                    _ => return Err($crate::codec::DecodeError::Invalid("message number")),
                };
                reader.finish()?;
                Ok((id, message))
            }
        }
    };
}

/// Declares a structure whose form on the wire is that of its fields in order.
macro_rules! structure {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl<'a> $crate::codec::Wire<'a> for $name $(<$life>)? {
            fn encode(&self, writer: &mut $crate::codec::Writer) {
                $( self.$field.encode(writer); )*
            }

            fn decode(reader: &mut $crate::codec::Reader<'a>) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name { $( $field: <$type as $crate::codec::Wire<'a>>::decode(reader)?, )* })
            }
        }
    };
}

/// Declares a plain enumeration whose form on the wire is one byte.
macro_rules! enumeration {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $number:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )* }

        impl<'a> $crate::codec::Wire<'a> for $name {
            fn encode(&self, writer: &mut $crate::codec::Writer) {
                let number: u8 = match self { $( Self::$variant => $number, )* };
                number.encode(writer);
            }

            fn decode(reader: &mut $crate::codec::Reader<'a>) -> Result<Self, $crate::codec::DecodeError> {
                match u8::decode(reader)? {
                    $( $number => Ok(Self::$variant), )*
                    _ => Err($crate::codec::DecodeError::Invalid(stringify!($name))),
                }
            }
        }
    };
}

pub(crate) use {enumeration, messages, structure};
