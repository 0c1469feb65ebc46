// The arguments of a module, read one after another in the order of its published signature.
#pragma once

#include <string_view>

#include "slimneck/layers.hpp"

namespace slimneck::modules {

/// Every getter takes the next argument, or the fallback when there are no more. A value that does not fit is a
/// ShapeError that names the module and the argument.
class Arguments {
 public:
  Arguments(const ModuleBuilder& builder, const ModuleCall& call) : builder_(builder), call_(call) {}

  [[nodiscard]] index_t integer(std::string_view name, index_t fallback, index_t least = 1, index_t most = 1024);
  [[nodiscard]] double real(std::string_view name, double fallback, double least, double most);
  [[nodiscard]] bool flag(std::string_view name, bool fallback);
  /// None means autopad, -1.
  [[nodiscard]] index_t padding();
  /// True: the dialect's activation; False or None: none; a name: that one, in every dialect.
  [[nodiscard]] kernels::Activation act();
  /// Any value, for arguments that have no effect.
  void ignored() { static_cast<void>(next()); }
  /// Throws when arguments are left.
  void end() const;

 private:
  [[nodiscard]] const Argument* next();
  [[noreturn]] void refuse(std::string_view name, const Argument& came, const std::string& wanted) const;

  const ModuleBuilder& builder_;
  const ModuleCall& call_;
  std::size_t at_ = 0;
};

/// As Python prints it: None, True, 'nearest', [10, 13].
std::string to_string(const Argument& argument);

}  // namespace slimneck::modules
