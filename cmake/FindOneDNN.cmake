# oneDNN as the target OneDNN::OneDNN: the package in dnnl_DIR when that is given, else what lies where the compiler looks.
# Debian's own CMake package is not used unasked: it wants OpenCL's headers, which its CPU side does without.
include(FindPackageHandleStandardArgs)

if(dnnl_DIR)
  find_package(dnnl CONFIG REQUIRED)
  if(NOT TARGET OneDNN::OneDNN)
    add_library(OneDNN::OneDNN INTERFACE IMPORTED)
    target_link_libraries(OneDNN::OneDNN INTERFACE DNNL::dnnl)
  endif()
  find_package_handle_standard_args(OneDNN REQUIRED_VARS dnnl_DIR VERSION_VAR dnnl_VERSION)
  return()
endif()

find_path(OneDNN_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
find_library(OneDNN_LIBRARY dnnl)
mark_as_advanced(OneDNN_INCLUDE_DIR OneDNN_LIBRARY)

find_package_handle_standard_args(OneDNN REQUIRED_VARS OneDNN_LIBRARY OneDNN_INCLUDE_DIR)

if(OneDNN_FOUND AND NOT TARGET OneDNN::OneDNN)
  add_library(OneDNN::OneDNN UNKNOWN IMPORTED)
  set_target_properties(OneDNN::OneDNN PROPERTIES IMPORTED_LOCATION ${OneDNN_LIBRARY}
                                                  INTERFACE_INCLUDE_DIRECTORIES ${OneDNN_INCLUDE_DIR})
endif()
