# frozen_string_literal: true

# When a suite must not be forked: one loader for each slot, and the first one as their controller.
#
# The first loader listens (Listener); the loader of a slot streams its records to it, so that the formatters of one
# session see all of them. Only processes of the same user are heard.

require "socket"
require_relative "records"

module RemudaRspec
  # The connection of a slot's loader to its controller.
  module Upstream
    def self.connect(load)
      Records::Sender.new(UNIXSocket.new("\0#{load["controller"]}"), true)
    end

    # The controller's side.
    class Listener
      attr_reader :address

      # The block takes each record.
      def initialize(&take)
        @take = take
        @address = "remuda-rspec-#{Process.pid}-#{(RemudaRspec.now * 1e9).to_i}"
        @server = UNIXServer.new("\0#{@address}")
        @links = {}
      end

      def sources
        [@server, *@links.keys]
      end

      def hear(source)
        source.equal?(@server) ? accept : read(source)
      end

      # The loaders of slots have ended: what they sent is here, even if a left-over holds the other end.
      def drain
        accept while IO.select([@server], nil, nil, 0)
        @links.keys.each { |link| nil while read(link) }
      end

      private

      def accept
        link = @server.accept
        # struct ucred: pid, uid, gid
        credentials = link.getsockopt(:SOCKET, :PEERCRED).unpack("i3")
        return link.close if credentials[1] != Process.uid

        @links[link] = Wire::Decoder.new
      end

      # Whether there was anything.
      def read(link)
        bytes = link.read_nonblock(Wire::CHUNK, exception: false)
        return false if bytes == :wait_readable

        if bytes.nil?
          @links.delete(link)
          link.close
          return false
        end
        decoder = @links[link]
        decoder.add(bytes)
        decoder.messages.each(&@take)
        true
      rescue SystemCallError
        @links.delete(link)
        false
      end
    end
  end
end
