#include "cases.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <exception>
#include <map>
#include <string_view>
#include <utility>

#include "slimneck/error.hpp"

namespace slimneck::cuda_cases {

namespace {

struct Count {
  int passed = 0, failed = 0;
};

Selection selected;
int failed_checks = 0;
std::map<std::pair<std::string, std::string>, Count> counts;

/// Tells which case a failed check belongs to.
class Listener : public doctest::IReporter {
 public:
  explicit Listener(const doctest::ContextOptions& /*options*/) {}
  void report_query(const doctest::QueryData& /*in*/) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& /*stats*/) override {}
  void test_case_start(const doctest::TestCaseData& /*data*/) override {}
  void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& /*stats*/) override {}
  void test_case_exception(const doctest::TestCaseException& /*exception*/) override {}
  void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& check) override { failed_checks += check.m_failed ? 1 : 0; }
  void log_message(const doctest::MessageData& message) override {
    failed_checks += (message.m_severity & doctest::assertType::is_warn) == 0 ? 1 : 0;
  }
  void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}
};

void print_counts() {
  Count all;
  for (const auto& [name, count] : counts) {
    std::printf("%-10s %-6s %5d passed %5d failed\n", name.first.c_str(), name.second.c_str(), count.passed,
                count.failed);
    all.passed += count.passed;
    all.failed += count.failed;
  }
  std::printf("%-17s %5d passed %5d failed\n", "cases", all.passed, all.failed);
}

}  // namespace

std::string Name::text() const { return family + " " + pass + " " + what; }

void run_case(const Name& name, const std::function<void()>& body) {
  if (!selected.takes(name)) return;
  INFO(name.text());
  const int before = failed_checks;
  try {
    body();
    CHECK(damage() == "");
  } catch (const Error& error) {
    FAIL_CHECK(error.what());
  }
  const bool passed = failed_checks == before;
  ++(passed ? counts[{name.family, name.pass}].passed : counts[{name.family, name.pass}].failed);
  if (!selected.lines) return;
  std::printf("%-6s %s\n", passed ? "ok" : "FAILED", name.text().c_str());
  std::fflush(stdout);
}

bool Selection::takes(const Name& name) const {
  return (family.empty() || family == name.family) && (pass.empty() || pass == name.pass) &&
         (!small || name.work <= small_work);
}

Selection parse(int& argc, char** argv) {
  Selection s;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--small") {
      s.small = true;
    } else if (flag == "--family" || flag == "--pass") {
      if (i + 1 == argc) throw Error(std::string(flag) + ": a name is missing");
      (flag == "--family" ? s.family : s.pass) = argv[++i];
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return s;
}

int run_tests(int argc, char** argv, const Selection& selection) {
  selected = selection;
  doctest::Context context(argc, argv);
  const int code = context.run();
  if (context.shouldExit()) return code;
  const bool partial = selection.small || !selection.family.empty() || !selection.pass.empty();
  if (!counts.empty() || partial) print_counts();
  if (counts.empty() && partial) {
    std::fprintf(stderr, "error: there is no such case\n");
    return 2;
  }
  return code;
}

REGISTER_LISTENER("cases", 1, Listener);

}  // namespace slimneck::cuda_cases
