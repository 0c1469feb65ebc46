#include "io/pickle.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <unordered_map>

#include "io/files.hpp"
#include "slimneck/error.hpp"

namespace slimneck::io {

using Kind = PickleValue::Kind;

namespace {

// They bound the memory of a hostile pickle, which can make a value with every byte. A large network has 10^5 values.
constexpr std::size_t max_bytes = std::size_t{16} << 20;
constexpr std::size_t max_values = std::size_t{1} << 20;

/// Opcodes by the names of Python's pickletools.
enum Opcode : std::uint8_t {
  op_mark = '(',
  op_stop = '.',
  op_binint = 'J',
  op_binint1 = 'K',
  op_binint2 = 'M',
  op_none = 'N',
  op_binpersid = 'Q',
  op_reduce = 'R',
  op_binunicode = 'X',
  op_append = 'a',
  op_build = 'b',
  op_global = 'c',
  op_appends = 'e',
  op_binget = 'h',
  op_long_binget = 'j',
  op_binput = 'q',
  op_long_binput = 'r',
  op_setitem = 's',
  op_tuple = 't',
  op_setitems = 'u',
  op_empty_dict = '}',
  op_empty_list = ']',
  op_empty_tuple = ')',
  op_binfloat = 'G',
  op_proto = 0x80,
  op_newobj = 0x81,
  op_tuple1 = 0x85,
  op_tuple2 = 0x86,
  op_tuple3 = 0x87,
  op_newtrue = 0x88,
  op_newfalse = 0x89,
  op_long1 = 0x8a,
};

}  // namespace

const PickleValue* PickleValue::find(std::string_view key) const noexcept {
  if (kind != Kind::dict) return nullptr;
  for (std::size_t i = items.size(); i >= 2; i -= 2)
    if (items[i - 2]->kind == Kind::text && items[i - 2]->text == key) return items[i - 1];
  return nullptr;
}

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, std::span<const PickleName> allowed, std::string_view file)
      : bytes_(bytes), allowed_(allowed), file_(file) {}

  Pickle run() {
    if (bytes_.size() > max_bytes) fail("more than 16 MiB");
    if (bytes_.size() < 2 || byte() != op_proto) fail("no pickle");
    if (const unsigned protocol = byte(); protocol != 2) fail("protocol " + std::to_string(protocol) + ", wanted 2");
    for (;;) {
      const auto op = static_cast<Opcode>(byte());
      if (op == op_stop) break;
      if (!scalar(op) && !container(op) && !memory(op) && !object(op))
        fail("opcode " + std::to_string(op) + " is not allowed");
    }
    if (stack_.size() != 1 || !marks_.empty()) fail("it does not leave one value");
    if (at_ != bytes_.size()) fail("bytes follow its end");
    pickle_.root_ = stack_.back();
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(std::string(file_) + ": pickle: " + what + " (byte " + std::to_string(at_) + ")");
  }

  // ---- Bytes ----
  std::string_view take(std::size_t count) {
    if (count > bytes_.size() - at_) fail("truncated");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, count);
    at_ += count;
    return text;
  }
  unsigned byte() { return static_cast<unsigned char>(take(1)[0]); }
  std::uint32_t number(std::size_t count) {
    std::uint32_t value = 0;
    std::memcpy(&value, take(count).data(), count);
    return value;
  }
  std::string_view line() {
    const std::size_t begin = at_;
    while (byte() != '\n') {
    }
    return {reinterpret_cast<const char*>(bytes_.data()) + begin, at_ - begin - 1};
  }

  // ---- Stack ----
  PickleValue& push(Kind kind) {
    if (pickle_.values_.size() == max_values) fail("more than " + std::to_string(max_values) + " values");
    PickleValue& value = pickle_.values_.emplace_back();
    value.kind = kind;
    push(&value);
    return value;
  }
  void push(PickleValue* value) {
    if (stack_.size() == max_values) fail("more than " + std::to_string(max_values) + " values at once");
    stack_.push_back(value);
  }
  /// How many values stand above the last mark.
  [[nodiscard]] std::size_t height() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  PickleValue* pop() {
    if (height() == 0) fail("it takes a value that is not there");
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue& top(Kind kind, const char* wanted) {
    if (height() == 0 || stack_.back()->kind != kind) fail(std::string("it changes something that is no ") + wanted);
    return *stack_.back();
  }
  std::vector<const PickleValue*> pop_many(std::size_t count) {
    if (height() < count) fail("it takes a value that is not there");
    std::vector<const PickleValue*> values(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }
  std::vector<const PickleValue*> pop_to_mark() {
    if (marks_.empty()) fail("there is no mark");
    std::vector<const PickleValue*> values = pop_many(height());
    marks_.pop_back();
    return values;
  }

  // ---- Opcodes: each function says whether it knew the opcode ----
  bool scalar(Opcode op) {
    switch (op) {
      case op_none: push(Kind::none); return true;
      case op_newtrue: push(Kind::boolean).integer = 1; return true;
      case op_newfalse: push(Kind::boolean); return true;
      case op_binint: integer(static_cast<std::int32_t>(number(4))); return true;
      case op_binint1: integer(byte()); return true;
      case op_binint2: integer(number(2)); return true;
      case op_long1: long_integer(); return true;
      case op_binfloat: real(); return true;
      case op_binunicode: text(number(4)); return true;
      default: return false;
    }
  }
  void integer(std::int64_t value) { push(Kind::integer).integer = value; }
  void long_integer() {
    const std::string_view digits = take(byte());
    if (digits.size() > 8) fail("an integer of " + std::to_string(digits.size()) + " bytes, wanted at most 8");
    std::uint64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? ~std::uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), digits.size());
    integer(static_cast<std::int64_t>(value));
  }
  void real() {
    const std::string_view big_endian = take(8);
    std::uint64_t bits = 0;
    for (const char c : big_endian) bits = bits << 8 | static_cast<unsigned char>(c);
    push(Kind::real).real = std::bit_cast<double>(bits);
  }
  void text(std::size_t length) { push(Kind::text).text = take(length); }

  bool container(Opcode op) {
    switch (op) {
      case op_mark: mark(); return true;
      case op_empty_tuple: push(Kind::tuple); return true;
      case op_empty_list: push(Kind::list); return true;
      case op_empty_dict: push(Kind::dict); return true;
      case op_tuple1: gather(Kind::tuple, pop_many(1)); return true;
      case op_tuple2: gather(Kind::tuple, pop_many(2)); return true;
      case op_tuple3: gather(Kind::tuple, pop_many(3)); return true;
      case op_tuple: gather(Kind::tuple, pop_to_mark()); return true;
      case op_append: extend(Kind::list, "list", pop_many(1)); return true;
      case op_appends: extend(Kind::list, "list", pop_to_mark()); return true;
      case op_setitem: extend(Kind::dict, "dict", pop_many(2)); return true;
      case op_setitems: extend(Kind::dict, "dict", pairs(pop_to_mark())); return true;
      default: return false;
    }
  }
  void mark() {
    if (marks_.size() == max_values) fail("too many marks");
    marks_.push_back(stack_.size());
  }
  std::vector<const PickleValue*> pairs(std::vector<const PickleValue*> items) const {
    if (items.size() % 2 != 0) fail("a key without a value");
    return items;
  }
  void gather(Kind kind, std::vector<const PickleValue*> items) { push(kind).items = std::move(items); }
  void extend(Kind kind, const char* wanted, const std::vector<const PickleValue*>& more) {
    std::vector<const PickleValue*>& items = top(kind, wanted).items;
    items.insert(items.end(), more.begin(), more.end());
  }

  bool memory(Opcode op) {
    switch (op) {
      case op_binput: remember(byte()); return true;
      case op_long_binput: remember(number(4)); return true;
      case op_binget: recall(byte()); return true;
      case op_long_binget: recall(number(4)); return true;
      default: return false;
    }
  }
  void remember(std::uint32_t index) {
    if (height() == 0) fail("it remembers a value that is not there");
    if (memo_.size() == max_values) fail("it remembers too many values");
    memo_[index] = stack_.back();
  }
  void recall(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail("it recalls a value that was never there");
    push(found->second);
  }

  bool object(Opcode op) {
    switch (op) {
      case op_global: name(); return true;
      case op_reduce: call(); return true;
      case op_newobj: make(); return true;
      case op_build: build(); return true;
      case op_binpersid: gather(Kind::persistent, pop_many(1)); return true;
      default: return false;
    }
  }
  void name() {
    const std::string_view module = line();
    const std::string wanted = std::string(module) + "." + std::string(line());
    const auto* known = find(wanted);
    if (known == nullptr) fail("it wants " + in_quotes(wanted) + ", which is not allowed");
    push(Kind::name).text = known->name;
  }
  [[nodiscard]] const PickleName* find(std::string_view name) const {
    const auto at = std::find_if(allowed_.begin(), allowed_.end(), [&](const PickleName& n) { return n.name == name; });
    return at == allowed_.end() ? nullptr : &*at;
  }
  /// Takes arguments and a callee that may be used in this way; returns both.
  std::pair<const PickleName*, const PickleValue*> callee() {
    const PickleValue* arguments = pop();
    const PickleValue* called = pop();
    if (arguments->kind != Kind::tuple) fail("arguments are no tuple");
    if (called->kind != Kind::name) fail("it calls something that is no name");
    return {find(called->text), arguments};
  }
  void call() {
    const auto [known, arguments] = callee();
    if (known->use == PickleUse::dict && arguments->items.empty()) {
      push(Kind::dict);
    } else if (known->use == PickleUse::call) {
      PickleValue& value = push(Kind::call);
      value.text = known->name;
      value.arguments = arguments;
    } else {
      fail("it calls " + in_quotes(known->name) + ", which is not allowed");
    }
  }
  void make() {
    const auto [known, arguments] = callee();
    if (known->use != PickleUse::object || !arguments->items.empty())
      fail("it makes an object of " + in_quotes(known->name) + ", which is not allowed");
    push(Kind::object).text = known->name;
  }
  void build() {
    const PickleValue* state = pop();
    if (height() == 0) fail("it takes a value that is not there");
    PickleValue& target = *stack_.back();
    if (target.kind != Kind::object && target.kind != Kind::call && target.kind != Kind::dict)
      fail("it gives a state to something that has none");
    target.state = state;
  }

  std::span<const std::byte> bytes_;
  std::span<const PickleName> allowed_;
  std::string_view file_;
  std::size_t at_ = 0;
  Pickle pickle_;
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleValue*> memo_;
};

Pickle Pickle::parse(std::span<const std::byte> bytes, std::span<const PickleName> allowed,
                     std::string_view file_name) {
  return PickleMachine(bytes, allowed, file_name).run();
}

}  // namespace slimneck::io
