# docs/add-an-op.md, followed to the letter: its code blocks become files of an overlay, which is built with the objects of
# this build, and its commands are run. Only the list of ops, the new op and its test are compiled.
set(document ${PROJECT_SOURCE_DIR}/docs/add-an-op.md)
set(overlay ${CMAKE_CURRENT_BINARY_DIR}/add_an_op)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${document} ${PROJECT_SOURCE_DIR}/include/slimneck/ops.inc)

# The code block behind "<!-- MARK -->".
function(documented mark result)
  file(READ ${document} text)
  string(FIND "${text}" "<!-- ${mark} -->" begin)
  if(begin EQUAL -1)
    message(FATAL_ERROR "docs/add-an-op.md has no block '${mark}'")
  endif()
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(FIND "${text}" "```" begin)
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(FIND "${text}" "\n" begin)
  math(EXPR begin "${begin} + 1")
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(FIND "${text}" "```" end)
  string(SUBSTRING "${text}" 0 ${end} text)
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

foreach(file src/layers/ops/scale.cpp tests/scale_test.cpp)
  documented("file: ${file}" block)
  file(CONFIGURE OUTPUT ${overlay}/${file} CONTENT "${block}" @ONLY)
endforeach()
documented("line: include/slimneck/ops.inc" line)
file(READ ${PROJECT_SOURCE_DIR}/include/slimneck/ops.inc ops)
file(CONFIGURE OUTPUT ${overlay}/include/slimneck/ops.inc CONTENT "${ops}${line}" @ONLY)
documented("run" commands)
file(CONFIGURE OUTPUT ${overlay}/commands.txt CONTENT "${commands}" @ONLY)

# Everything that reads ops.inc anew, found before the unchanged headers.
add_library(documented_op OBJECT ${overlay}/src/layers/ops/scale.cpp ${PROJECT_SOURCE_DIR}/src/layers/ops/list.cpp)
target_include_directories(documented_op BEFORE PRIVATE ${overlay}/include)
target_link_libraries(documented_op PRIVATE slimneck_kernels)

# documented_program(TARGET NAME OTHER): NAME as OTHER is, with the op in it. Sources of its own may follow.
function(documented_program target name other)
  set(own $<TARGET_OBJECTS:slimneck_objects>)
  add_executable(${target} ${ARGN} $<TARGET_OBJECTS:documented_op> $<TARGET_OBJECTS:${other}>
                 $<FILTER:${own},EXCLUDE,/layers/ops/list\\.cpp> $<TARGET_OBJECTS:slimneck_kernels> ${slimneck_isa_objects})
  target_include_directories(${target} BEFORE PRIVATE ${overlay}/include ${PROJECT_SOURCE_DIR}/include
                                                      ${PROJECT_BINARY_DIR}/include)
  if(TARGET slimneck_peer)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:slimneck_peer>)
  endif()
  target_link_libraries(${target} PRIVATE slimneck_flags ${slimneck_link_libraries} slimneck_peers doctest::doctest)
  if(TARGET slimneck_measure)
    target_link_libraries(${target} PRIVATE slimneck_measure)
  endif()
  target_compile_definitions(${target} PRIVATE SLIMNECK_STATIC)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} CXX_EXTENSIONS OFF LINKER_LANGUAGE CXX
                                             RUNTIME_OUTPUT_DIRECTORY ${overlay}/bin)
endfunction()

documented_program(documented_tests slimneck_tests slimneck_tests ${overlay}/tests/scale_test.cpp)
if(SLIMNECK_BUILD_CLI)
  documented_program(documented_cli slimneck slimneck_cli)
endif()
if(SLIMNECK_BUILD_BENCH)
  find_package(benchmark REQUIRED)
  documented_program(documented_bench slimneck_bench slimneck_bench)
  target_link_libraries(documented_bench PRIVATE benchmark::benchmark)
endif()

add_test(NAME add_an_op COMMAND ${CMAKE_COMMAND} -DOVERLAY=${overlay} -DBENCH=${SLIMNECK_BUILD_BENCH}
                                -DCLI=${SLIMNECK_BUILD_CLI} -P ${CMAKE_CURRENT_SOURCE_DIR}/run_documented.cmake)
set_tests_properties(add_an_op PROPERTIES LABELS docs TIMEOUT 120 ENVIRONMENT "${environment}")
