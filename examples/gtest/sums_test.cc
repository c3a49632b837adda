#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

TEST(Sums, Adds) { EXPECT_EQ(1 + 1, 2); }

TEST(Sums, AddsWrongly) { EXPECT_EQ(2 + 2, 5) << "two and two"; }

TEST(Sums, NeedsABank) { GTEST_SKIP() << "there is no bank"; }

TEST(Sums, DISABLED_Divides) { FAIL(); }

TEST(Sums, Throws) { throw std::runtime_error("no more money"); }

TEST(Sums, TakesItsTime) { std::this_thread::sleep_for(std::chrono::milliseconds(300)); }

TEST(Process, Aborts) { std::abort(); }

TEST(Process, IsItsNeighbour) { SUCCEED(); }

class Table : public testing::TestWithParam<int> {};

TEST_P(Table, Doubles) { EXPECT_EQ(GetParam() + GetParam(), 2 * GetParam()); }

INSTANTIATE_TEST_SUITE_P(Small, Table, testing::Values(1, 2, 3));
