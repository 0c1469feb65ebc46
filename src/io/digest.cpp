#include "io/digest.hpp"

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "io/files.hpp"
#include "slimneck/error.hpp"

namespace slimneck::io {

namespace {

/// SHA-256 of what it is fed.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_) throw std::bad_alloc();
    check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }

  void feed(const void* bytes, std::size_t count) { check(EVP_DigestUpdate(context_.get(), bytes, count)); }

  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
    unsigned count = 0;
    check(EVP_DigestFinal_ex(context_.get(), raw.data(), &count));
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < count; ++i) (text += digits[raw[i] >> 4]) += digits[raw[i] & 15];
    return text;
  }

 private:
  static void check(int success) {
    if (success != 1) throw Error("SHA-256: the cryptographic library refuses it");
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

Digest digest_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  InputFile file(path, max_bytes);
  Sha256 sha;
  std::vector<std::byte> piece(std::size_t{1} << 20);
  Digest digest;
  while (const std::size_t count = file.read_some(piece)) {
    sha.feed(piece.data(), count);
    digest.bytes += count;
  }
  digest.sha256 = sha.hex();
  return digest;
}

std::string sha256(std::string_view text) {
  Sha256 sha;
  sha.feed(text.data(), text.size());
  return sha.hex();
}

}  // namespace slimneck::io
