# frozen_string_literal: true

# Frames of docs/runner-protocol.md: 4-byte big-endian length, JSON; descriptors come with a frame's first byte.
#
# Knows nothing of what the messages mean, but for the two that may have to be said before anything else is loaded.

require "json"
require "socket"

module RemudaRspec
  # Frames on sockets and pipes.
  module Wire
    CHUNK = 1 << 16
    CONTROL = 512
    LARGEST_FRAME = 256 << 20
    GENERATE = JSON.method(:generate)
    PARSE = JSON.method(:parse)

    class << self
      # The connected socket behind an inherited descriptor, which no child may inherit again.
      def connect(descriptor)
        UNIXSocket.for_fd(descriptor).tap { |socket| socket.close_on_exec = true }
      end

      # The same for a descriptor that was passed to us; that one may then be closed.
      def copy_of(passed)
        copy = passed.dup
        copy.autoclose = false
        connect(copy.fileno)
      end

      def send(stream, message)
        send_body(stream, GENERATE.call(message))
      end

      def send_body(stream, body)
        stream.write([body.bytesize].pack("N") << body.b)
        stream.flush
      end

      def introduction(version)
        {
          "type" => "abq_native_runner_spawned",
          "protocol_version" => { "type" => "abq_protocol_version", "major" => 0, "minor" => 2 },
          "runner_specification" => {
            "type" => "abq_native_runner_specification", "name" => "remuda-rspec", "version" => VERSION,
            "test_framework" => "rspec", "test_framework_version" => version,
            "language" => "ruby", "language_version" => RUBY_VERSION, "host" => RUBY_DESCRIPTION
          },
          "remuda" => 1, "pid" => Process.pid
        }
      end

      def failure(message, code, output)
        {
          "type" => "manifest_failure", "error" => { "message" => utf8(message) },
          "exit" => code, "output" => utf8(output)
        }
      end

      # Text that JSON takes, whatever a test made of it.
      def utf8(text)
        text = text.to_s
        text = text.dup.force_encoding(Encoding::UTF_8) if text.encoding == Encoding::BINARY
        text = text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace) if text.encoding != Encoding::UTF_8
        text.valid_encoding? ? text : text.scrub
      rescue EncodingError
        text.dup.force_encoding(Encoding::UTF_8).scrub
      end
    end

    # Takes frames out of bytes as they come.
    class Decoder
      def initialize
        @buffer = String.new(encoding: Encoding::BINARY)
      end

      def add(bytes)
        @buffer << bytes
      end

      def messages
        found = []
        start = 0
        while @buffer.bytesize - start >= 4
          length = @buffer.byteslice(start, 4).unpack1("N")
          raise IOError, "a frame of #{length} bytes: the stream is out of step" if length > LARGEST_FRAME
          break if @buffer.bytesize - start - 4 < length

          found << PARSE.call(@buffer.byteslice(start + 4, length).force_encoding(Encoding::UTF_8))
          start += 4 + length
        end
        @buffer = @buffer.byteslice(start, @buffer.bytesize - start) if start.positive?
        found
      end
    end

    # Reads frames from a connected socket and keeps the descriptors that came with them.
    class Reader
      attr_reader :descriptors, :closed

      def initialize(socket)
        @socket = socket
        @decoder = Decoder.new
        @descriptors = []
        @closed = false
      end

      # Reads what is there (with `block`: at least one message) and returns the complete messages.
      def receive(block)
        messages = []
        until @closed
          break unless fill(block && messages.empty?)

          messages.concat(@decoder.messages)
        end
        messages
      end

      private

      def fill(wait)
        found = @socket.recvmsg_nonblock(CHUNK, 0, CONTROL, scm_rights: true, exception: false)
        if found == :wait_readable
          return false unless wait

          IO.select([@socket])
          return true
        end
        take(found)
      rescue SystemCallError
        @closed = true
        false
      end

      def take(found)
        data, _sender, _flags, *controls = found
        controls.each { |control| @descriptors.concat(control.unix_rights || []) if control.cmsg_is?(:SOCKET, :RIGHTS) }
        if data.nil? || data.empty?
          @closed = true
          return false
        end
        @decoder.add(data)
        true
      end
    end
  end
end
