"""A few rows of published data sets, laid out as their files are."""

from __future__ import annotations

import dataclasses

from tests.data.prepare.odd_shops import lines


@dataclasses.dataclass(frozen=True)
class Sample:
    """Files in a published layout, and the events in order of time: user item type value time."""

    files: dict[str, str]
    events: str
    titles: str = ""
    friends: int = 0
    order: str = "time"
    encoding: str = "utf-8"


YELP_REVIEW = {"review_id": "r", "user_id": "u", "business_id": "b", "stars": 4.0, "text": "ok"}
YELP_TIP = {"user_id": "v", "business_id": "b", "text": "try", "date": "2013-08-18 02:46:12"}
YELP_PLACE = {"business_id": "b", "name": "Café", "categories": "Food, Tea", "stars": 4.5}
YELP_USER = {"user_id": "u", "name": "Ann", "friends": "v, w"}

SAMPLES = {
    "goodbooks-10k": Sample(
        {
            "ratings.csv": "user_id,book_id,rating\n1,258,5\n1,4081,4\n",
            "books.csv": "book_id,isbn,original_title,title\n258,439,G,Games\n",
        },
        "1 258 event 5 0|1 4081 event 4 1",
        "258 Games",
        order="file",
    ),
    "Amazon ratings of 2014": Sample(
        {"ratings_Beauty.csv": "A39HTATAQ9V7YF,0205616461,5.0,1369699200\n"},
        "A39HTATAQ9V7YF 0205616461 event 5 1369699200",
    ),
    "Amazon ratings of 2018": Sample(
        {"All_Beauty.csv": "0143026860,A1V6B6TNIC10QE,1.0,1424304000\n"},
        "A1V6B6TNIC10QE 0143026860 event 1 1424304000",
    ),
    "Amazon 2023 ratings": Sample(
        {"All_Beauty.csv": "user_id,parent_asin,rating,timestamp\nAG7,B07,5.0,1578524511999\n"},
        "AG7 B07 event 5 1578524511",
    ),
    "Yelp": Sample(
        {
            "yelp_academic_dataset_review.json": lines(
                {**YELP_REVIEW, "date": "2012-01-02 03:04:05"}
            ),
            "yelp_academic_dataset_tip.json": lines(YELP_TIP),
            "yelp_academic_dataset_business.json": lines(YELP_PLACE),
            "yelp_academic_dataset_user.json": lines(
                YELP_USER, {"user_id": "w", "friends": "None"}
            ),
        },
        "u b review 4 1325473445|v b tip 1 1376793972",
        "b Café",
        friends=4,
    ),
    "Book-Crossing": Sample(
        {
            "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\n"276725";"034X";"7"\n',
            "BX-Books.csv": '"ISBN";"Book-Title";"Book-Author"\n"034X";"Caf\\"é";"B"\n',
            "BX-Users.csv": '"User-ID";"Location";"Age"\n"276725";"tyler, usa";NULL\n',
        },
        "276725 034X event 7 0",
        '034X Caf"é',
        order="file",
        encoding="latin-1",
    ),
    "CiaoDVD": Sample(
        {
            "movie-ratings.txt": "1,1,1,1,4,2003-03-25\n2,7,1,2,3,2002-12-16\n",
            "trusts.txt": "1,2,1\n5,2,1\n",
        },
        "2 7 event 3 1039996800|1 1 event 4 1048550400",
        friends=4,
    ),
    "Epinions with times": Sample(
        {
            "rating_with_timestamp.txt": "  1  2  3  4  5  999700000\n 7  2  3  5  5  999700001\n",
            "trustnetwork.txt": "   1   7\n",
        },
        "1 2 event 4 999700000|7 2 event 5 999700001",
        friends=2,
    ),
    "Epinions": Sample(
        {"ratings_data.txt": "1 100 4\n1 101 5\n", "trust_data.txt": " 1 7 1\n"},
        "1 100 event 4 0|1 101 event 5 1",
        friends=2,
        order="file",
    ),
    "Taobao": Sample(
        {"UserBehavior.csv": "1,2268318,2520377,pv,1511544070\n1,46259,149192,buy,1511572885\n"},
        "1 2268318 pv 1 1511544070|1 46259 buy 1 1511572885",
    ),
    "Tmall": Sample(
        {
            "user_log_format1.csv": "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,"
            "action_type\n1,5,8,2,3,829,0\n1,6,8,2,3,1111,2\n"
        },
        "1 5 0 1 829|1 6 2 1 1111",
    ),
    "Yoochoose": Sample(
        {
            "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,2145,0\n",
            "yoochoose-buys.dat": "1,2014-04-07T10:54:09.868Z,2145,12462,1\n",
        },
        "1 2145 click 1 1396867869|1 2145 buy 1 1396868049",
    ),
    "DIGINETICA": Sample(
        {
            "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate\n"
            "1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n1;9;32;200;2016-05-09\n",
            "train-purchases.csv": "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n"
            "1;9;1500000;2016-05-09;3;32\n",
        },
        "1 32 view 1 1462752000|1 81766 view 1 1462752526|1 31331 view 1 1462753031"
        "|1 32 buy 1 1462753500",
    ),
    "H&M": Sample(
        {
            "transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
            "2018-09-20,0000f,0663713001,0.05,2\n",
            "articles.csv": "article_id,product_code,prod_name,product_type_name,detail_desc\n"
            "0663713001,663713,Atlanta Bra,Underwear,Soft.\n",
            "customers.csv": "customer_id,FN,Active,age\n0000f,,,49\n",
        },
        "0000f 0663713001 event 1 1537401600",
        "0663713001 Atlanta Bra",
    ),
    "REES46": Sample(
        {
            "2019-Oct.csv": "event_time,event_type,product_id,category_id,category_code,price,"
            "user_id,user_session\n2019-10-01 00:00:00 UTC,view,44600062,2103,,35.79,541,s\n",
            "2019-Nov.csv.gz": "",
        },
        "541 44600062 view 1 1569888000",
    ),
    "RetailRocket": Sample(
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
            "1433221332117,257597,view,355908,\n",
            "item_properties_part1.csv": "timestamp,itemid,property,value\n",
        },
        "257597 355908 view 1 1433221332",
    ),
    "KuaiRec": Sample(
        {
            "big_matrix.csv": "user_id,video_id,play_duration,time,date,timestamp,"
            "watch_ratio\n0,3649,13838,2020-07-05 00:08:23.438,20200705,1593878903.438,1.25\n",
            "social_network.csv": 'user_id,friend_list\n3371,[2975]\n24,"[2665, 0]"\n',
            "kuairec_caption_category.csv": "video_id,manual_cover_text,caption,topic_tag,"
            'first_level_category_name\n3649,x,Cat,"[a,b]",Pets\n',
        },
        "0 3649 event 1.25 1593878903",
        "3649 Cat",
        friends=6,
    ),
    "KuaiRand": Sample(
        {
            "log_standard_4_08_to_4_21_pure.csv": "user_id,video_id,date,hourmin,time_ms,is_click,"
            "is_like,is_follow,is_comment,is_forward\n"
            "0,7,20220411,800,1649635215002,1,1,0,0,0\n0,8,20220411,800,1649635216002,0,0,0,0,0\n",
            "video_features_basic_pure.csv": 'video_id,author_id,tag\n7,8,"12,65"\n',
        },
        "0 7 like 1 1649635215|0 8 view 1 1649635216",
    ),
    "Tenrec": Sample(
        {
            "QB-video.csv": "user_id,item_id,click,follow,like,share,video_category,"
            "watching_times,gender,age\n1,11,1,0,0,0,1,1,1,4\n1,12,0,0,0,0,1,0,1,4\n"
        },
        "1 11 click 1 0|1 12 view 1 1",
        order="file",
    ),
    "MIND": Sample(
        {
            "behaviors.tsv": "1\tU13740\t11/13/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0\n",
            "news.tsv": "N55689\tsports\tsoccer\tCup\tAll of it\thttp://x\t[]\t[]\n",
        },
        "U13740 N55689 click 1 1573635958",
        "N55689 Cup",
    ),
    "Steam": Sample(
        {"steam-200k.csv": '151603712,"The Elder, Skyrim",purchase,1.0,0\n'},
        "151603712 The Elder, Skyrim purchase 1 0",
        order="file",
    ),
    "Gowalla": Sample(
        {
            "loc-gowalla_totalCheckins.txt": "0\t2010-10-19T23:55:27Z\t30.2\t-97.7\t22847\n",
            "loc-gowalla_edges.txt": "0\t1\n1\t0\n",
        },
        "0 22847 event 1 1287532527",
        friends=2,
    ),
    "Foursquare": Sample(
        {
            "dataset_TSMC2014_NYC.txt": "470\t49bbd6c0\t4bf58dd8\tCafé\t40.7\t-74.0\t-240\t"
            "Tue Apr 03 18:00:09 +0000 2012\n"
        },
        "470 49bbd6c0 event 1 1333476009",
        encoding="latin-1",
    ),
    "Foursquare with friends": Sample(
        {
            "dataset_WWW_Checkins_anonymized.txt": "546830\t4f5e3a72\t"
            "Tue Apr 03 18:00:06 +0000 2012\t180\n",
            "dataset_WWW_friendship_new.txt": "546830\t2\n",
            "raw_POIs.txt": "4f5e3a72\t24.7\t46.5\tPlaza\tSA\n",
        },
        "546830 4f5e3a72 event 1 1333476006",
        friends=2,
    ),
    "HetRec MovieLens": Sample(
        {
            "user_ratedmovies-timestamps.dat": "userID\tmovieID\trating\ttimestamp\n"
            "75\t3\t1\t1162160236000\n",
            "movies.dat": "id\ttitle\timdbID\n3\tGrumpier Old Men\t107050\n",
        },
        "75 3 event 1 1162160236",
        "3 Grumpier Old Men",
    ),
    "OTTO": Sample(
        {
            "events.jsonl": lines(
                {
                    "session": 1,
                    "events": [
                        {"aid": 10, "ts": 1659304800025, "type": "clicks"},
                        {"aid": 11, "ts": 1659304904511, "type": "carts"},
                    ],
                }
            )
        },
        "1 10 clicks 1 1659304800|1 11 carts 1 1659304904",
    ),
    "UCI Online Retail": Sample(
        {
            "online_retail.csv": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,"
            "CustomerID,Country\n536365,85123A,HANGER,6,12/13/2010 8:26,2.55,17850.0,France\n"
        },
        "17850 85123A event 1 1292228760",
    ),
    "S3-Rec": Sample(
        {"Beauty.txt": "1 5 7 9\n2 5 6\n", "Beauty_item2attributes.json": "{}"},
        "1 5 event 1 0|1 7 event 1 1|1 9 event 1 2|2 5 event 1 3|2 6 event 1 4",
        order="file",
    ),
}
