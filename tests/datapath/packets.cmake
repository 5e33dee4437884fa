# Packet tests: the real programs, one packet at a time, by the kernel's test-run. Included by CMakeLists.txt beside it.
# They link nothing of the agent's: scripts/kernels.sh runs the binary in a bare initramfs on other kernels.
include(Catch)

set(SVCLB_HARNESS ${CMAKE_SOURCE_DIR}/tests/harness)
set(SVCLB_EMBEDDED_OBJECT ${CMAKE_SOURCE_DIR}/userspace/datapath/embedded_object.S)
set_source_files_properties(${SVCLB_EMBEDDED_OBJECT} PROPERTIES
    OBJECT_DEPENDS "${CMAKE_BINARY_DIR}/bpf/svclb.bpf.o;${CMAKE_BINARY_DIR}/bpf/sockets.bpf.o"
    COMPILE_DEFINITIONS
    "SVCLB_BPF_OBJECT=\"${CMAKE_BINARY_DIR}/bpf/svclb.bpf.o\";SVCLB_SOCKETS_OBJECT=\"${CMAKE_BINARY_DIR}/bpf/sockets.bpf.o\"")

add_library(packet_harness OBJECT
    ${SVCLB_HARNESS}/bpf_object.cpp
    ${SVCLB_HARNESS}/frame_layout.cpp
    ${SVCLB_HARNESS}/packet.cpp
    ${SVCLB_HARNESS}/prog_run.cpp
    ${SVCLB_HARNESS}/service_fixture.cpp
    ${SVCLB_HARNESS}/socket_hooks.cpp
    ${SVCLB_EMBEDDED_OBJECT})
add_dependencies(packet_harness svclb_bpf_object sockets_bpf_object)
target_include_directories(packet_harness PUBLIC ${SVCLB_HARNESS})
target_link_libraries(packet_harness PUBLIC svclb_flags PkgConfig::LIBBPF)

add_executable(packet_tests
    affinity_test.cpp
    choice_test.cpp
    cluster_ip_test.cpp
    collision_test.cpp
    counters_test.cpp
    draining_test.cpp
    dsr_flows_test.cpp
    dsr_test.cpp
    dsr_unwrap_test.cpp
    early_drop_test.cpp
    external_test.cpp
    flow_life_test.cpp
    fragments_test.cpp
    hairpin_test.cpp
    headers_test.cpp
    host_packets_test.cpp
    icmp_test.cpp
    loading_test.cpp
    masquerade_test.cpp
    mutual_test.cpp
    no_backends_test.cpp
    packet_composition_test.cpp
    passing_test.cpp
    past_stack_test.cpp
    sctp_test.cpp
    socket_callers_test.cpp
    socket_failures_test.cpp
    socket_io_uring_test.cpp
    socket_matrix_test.cpp
    socket_rules_test.cpp
    sockets_test.cpp
    source_reuse_test.cpp
    tables_full_test.cpp
    tcp_states_test.cpp
    translation_test.cpp
    tunnel_test.cpp
    udp_test.cpp
    unknown_connection_test.cpp
    uplink_errors_test.cpp
    uplink_test.cpp
    verdict_test.cpp
    xdp_test.cpp)
target_link_libraries(packet_tests PRIVATE packet_harness Catch2::Catch2WithMain)
catch_discover_tests(packet_tests TEST_PREFIX "datapath." PROPERTIES SKIP_RETURN_CODE 4 TIMEOUT 600)
