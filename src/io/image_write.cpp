#include <algorithm>
#include <cctype>

#include "io/files.hpp"
#include "io/image_detail.hpp"

namespace slimneck {

void write_image(const std::filesystem::path& path, const Image& image) {
  constexpr int quality = 95;  // OpenCV's default
  io::check_image(image, "write_image");
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (extension == ".jpg" || extension == ".jpeg")
    io::write_file(path, io::encode_jpeg(image, quality));
  else if (extension == ".png")
    io::write_file(path, io::encode_png(image));
  else
    throw FormatError(path.string() + ": cannot write pictures of type '" + extension + "', wanted .jpg or .png");
}

}  // namespace slimneck
