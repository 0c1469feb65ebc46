// Pickles as data. A pickle is a program that builds Python objects; here it builds inert values, and every name that
// it mentions must stand in a list that the caller gives. Nothing is imported, called or evaluated.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

namespace slimneck::io {

/// What a pickle may do with a name.
enum class PickleUse : std::uint8_t {
  mention,  ///< nothing but refer to it
  dict,     ///< call it without arguments: an empty dict
  call,     ///< call it: a value that remembers name and arguments
  object,   ///< make an object of that class: a value that remembers its state
};

struct PickleName {
  std::string_view name;  ///< "module.name"
  PickleUse use;
};

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    tuple,
    list,
    dict,
    name,
    call,
    object,
    persistent
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;  ///< also of a boolean
  double real = 0;
  std::string_view text;                   ///< of a text (in the pickle's bytes); the name of a name, call or object
  std::vector<const PickleValue*> items;   ///< elements; key, value, key, value, ... of a dict; a persistent's id
  const PickleValue* arguments = nullptr;  ///< of a call: a tuple
  const PickleValue* state = nullptr;      ///< what the object was given after it was made; null when nothing

  /// The value of a dict's key, or nullptr. With several the last one, as in Python.
  [[nodiscard]] const PickleValue* find(std::string_view key) const noexcept;
};

/// Values refer to each other and may do so in circles; all of them live as long as the pickle and its bytes.
class Pickle {
 public:
  /// Reads protocol 2. Throws FormatError on every opcode and name that is not allowed (the name stands in the
  /// message), on damage, on more than 16 MiB, and on more than 2^20 values.
  static Pickle parse(std::span<const std::byte> bytes, std::span<const PickleName> allowed,
                      std::string_view file_name);

  [[nodiscard]] const PickleValue& root() const noexcept { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

}  // namespace slimneck::io
