// Echo with uWebSockets, as its own example has it. It ends with its input.

#include <App.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

struct None {};

#ifdef UWS_NO_ZLIB
static const bool COMPRESSED = false;
static const uWS::CompressOptions OPTIONS = uWS::DISABLED;
#else
static const bool COMPRESSED = true;
static const uWS::CompressOptions OPTIONS =
    uWS::CompressOptions(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR);
#endif

static void endWithInput() {
    while (std::getchar() != EOF) {
    }
    std::exit(0);
}

int main() {
    uWS::App app;
    app.ws<None>("/*", {
        .compression = OPTIONS,
        .maxPayloadLength = 16 * 1024 * 1024,
        .idleTimeout = 120,
        .maxBackpressure = 64 * 1024 * 1024,
        .message = [](auto *socket, std::string_view message, uWS::OpCode kind) {
            socket->send(message, kind, COMPRESSED);
        },
    });
    app.listen("127.0.0.1", 0, [](us_listen_socket_t *listener) {
        if (!listener)
            std::exit(1);
        std::cout << "127.0.0.1:" << us_socket_local_port(0, (us_socket_t *)listener) << std::endl;
    });
    std::thread(endWithInput).detach();
    app.run();
}
