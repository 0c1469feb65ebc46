# cmake --install: library, headers, model files, the CMake package and slimneck.pc.
include(CMakePackageConfigHelpers)

set(slimneck_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/slimneck)

install(TARGETS slimneck EXPORT slimneckTargets)
install(DIRECTORY include/slimneck TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inc")
install(FILES ${PROJECT_BINARY_DIR}/include/slimneck/version.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/slimneck)
install(DIRECTORY models DESTINATION ${CMAKE_INSTALL_DATADIR}/slimneck FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY weights DESTINATION ${CMAKE_INSTALL_DATADIR}/slimneck FILES_MATCHING PATTERN "*.safetensors"
        PATTERN "*.md")
install(EXPORT slimneckTargets NAMESPACE slimneck:: DESTINATION ${slimneck_package_dir})

# Only who links the static library links its dependencies too; a shared one has them inside.
set(slimneck_dependencies "")
set(slimneck_pc_requires "")
set(slimneck_pc_libs "")
set(slimneck_pc_cflags "")
if(NOT BUILD_SHARED_LIBS)
  string(CONCAT slimneck_dependencies "find_dependency(OpenMP COMPONENTS CXX)\nfind_dependency(ZLIB)\n"
                                      "find_dependency(OpenSSL COMPONENTS Crypto)\nfind_dependency(yaml-cpp)\n")
  set(slimneck_pc_requires "yaml-cpp zlib libcrypto")
  set(slimneck_pc_libs "${OpenMP_CXX_FLAGS}")
  set(slimneck_pc_cflags " -DSLIMNECK_STATIC")
  if(SLIMNECK_MPI)
    string(APPEND slimneck_dependencies "find_dependency(MPI COMPONENTS CXX)\n")
    list(JOIN MPI_CXX_LIBRARIES " " slimneck_mpi_libs)
    string(APPEND slimneck_pc_libs " ${slimneck_mpi_libs}")
  endif()
  if(TurboJPEG_FOUND)
    string(APPEND slimneck_dependencies "list(APPEND CMAKE_MODULE_PATH \${CMAKE_CURRENT_LIST_DIR})\n"
                                        "find_dependency(TurboJPEG)\nlist(POP_BACK CMAKE_MODULE_PATH)\n")
    string(APPEND slimneck_pc_requires " libturbojpeg")
    install(FILES cmake/FindTurboJPEG.cmake DESTINATION ${slimneck_package_dir})
  endif()
  if(SLIMNECK_WITH_CUDA)
    string(APPEND slimneck_dependencies "find_dependency(CUDAToolkit)\n")
    string(APPEND slimneck_pc_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
  endif()
endif()

configure_package_config_file(cmake/slimneckConfig.cmake.in ${PROJECT_BINARY_DIR}/slimneckConfig.cmake
                              INSTALL_DESTINATION ${slimneck_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/slimneckConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/slimneckConfig.cmake ${PROJECT_BINARY_DIR}/slimneckConfigVersion.cmake
        DESTINATION ${slimneck_package_dir})

# The prefix is written relative to the file, so that `cmake --install --prefix` and a moved tree work.
file(RELATIVE_PATH slimneck_pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" slimneck_pc_prefix ${slimneck_pc_prefix})
configure_file(cmake/slimneck.pc.in slimneck.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/slimneck.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
