#include "run_folder.hpp"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "cli.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

/// Makes the folder and those above it, for the sake of `wanted`.
void make_folders(const fs::path& folder, const fs::path& wanted) {
  std::error_code problem;
  if (!folder.empty()) fs::create_directories(folder, problem);
  if (problem) throw IoError(wanted.string() + ": cannot be made: " + problem.message());
}

fs::path make_new(const fs::path& wanted) {
  constexpr int most = 10000;
  make_folders(wanted.parent_path(), wanted);
  for (int i = 1; i < most; ++i) {
    fs::path path = i == 1 ? wanted : fs::path(wanted.string() + std::to_string(i));
    if (mkdir(path.c_str(), 0777) == 0) return path;
    if (errno != EEXIST) throw IoError(path.string() + ": cannot be made: " + std::strerror(errno));
  }
  throw IoError(wanted.string() + ": there are too many runs of this name");
}

}  // namespace

void RunFolderOptions::add_to(CLI::App& app) {
  app.add_option("--project", project, "folder of the runs (" + project + ")")->type_name("DIR");
  app.add_option("--name", name, "folder of this run within it (" + name + ")")->type_name("DIR");
  app.add_flag("--exist-ok", exist_ok, "write into project/name even if it exists");
}

void RunFolderOptions::check() const {
  if (project.empty() || name.empty()) throw UsageError("--project and --name may not be empty");
}

RunFolder::RunFolder(const RunFolderOptions& options)
    : path_(fs::path(options.project) / options.name), made_(!options.exist_ok) {
  if (made_)
    path_ = make_new(path_);
  else
    make_folders(path_, path_);
}

RunFolder::~RunFolder() {
  std::error_code problem;
  if (made_ && fs::is_empty(path_, problem)) fs::remove(path_, problem);
}

fs::path RunFolder::inner(const std::string& name) const {
  fs::path folder = path_ / name;
  make_folders(folder, folder);
  return folder;
}

std::string label_line(const Detection& d, index_t width, index_t height, LabelFormat numbers, bool score) {
  const double x1 = d.x1, y1 = d.y1, x2 = d.x2, y2 = d.y2;
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  const std::array<double, 4> box =
      numbers == LabelFormat::corners ? std::array{x1, y1, x2, y2}
                                      : std::array{(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h};
  std::string text = format("%d %g %g %g %g", d.cls, box[0], box[1], box[2], box[3]);
  if (score) text += format(" %g", static_cast<double>(d.score));
  return text + '\n';
}

}  // namespace slimneck::cli
